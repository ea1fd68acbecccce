"""One of two operators leads: when it dies the other takes over, and never do both write."""

from collections.abc import Iterator

import pytest
from shop_e2e.cluster.kubectl import OPERATOR_NAMESPACE, Namespace, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.undisturbed]

OPERATOR = Namespace(OPERATOR_NAMESPACE)
PODS = "app.kubernetes.io/component=operator"


@pytest.fixture
def two_operators() -> Iterator[None]:
    OPERATOR.kubectl("scale", "deployment/ecommerce-operator", "--replicas=2")
    OPERATOR.kubectl("rollout", "status", "deployment/ecommerce-operator", "--timeout=90s")
    yield
    OPERATOR.kubectl("scale", "deployment/ecommerce-operator", "--replicas=1")
    eventually(lambda: len(OPERATOR.list("pods", PODS)) == 1, 60, "one operator is left")


@pytest.mark.usefixtures("two_operators")
def test_when_the_leader_dies_the_other_operator_takes_over(namespace: Namespace) -> None:
    eventually(lambda: len(_leaders()) == 1, 60, "one of the two leads")
    (leader,) = _leaders()

    OPERATOR.kubectl("delete", "pod", leader, "--grace-period=0", "--force")
    eventually(lambda: len(_leaders() - {leader}) == 1, 60, "the other one leads")
    namespace.kubectl("delete", "service", "shop-review")

    eventually(
        lambda: "service/shop-review" in namespace.kubectl("get", "services", "--output", "name"),
        5,
        "the Service is back",
    )
    eventually(lambda: len(OPERATOR.metrics(PODS)) == 2, 60, "a second one runs again")
    assert len(_leaders()) == 1


def _leaders() -> set[str]:
    return {pod for pod, metrics in OPERATOR.metrics(PODS).items() if metrics["ecommerce_operator_leading"] == 1}
