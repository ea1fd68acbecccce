"""The operator keeps a shop as its resource specifies, and writes nothing where nothing has changed."""

import json
import time

import pytest
from shop_e2e.cluster.kubectl import (
    OPERATOR_NAMESPACE,
    Namespace,
    Object,
    audit_log,
    eventually,
    now,
    writes,
)

pytestmark = [pytest.mark.cluster, pytest.mark.undisturbed]

OURS = "app.kubernetes.io/managed-by=ecommerce-operator"
KINDS = (
    "serviceaccounts",
    "secrets",
    "configmaps",
    "services",
    "networkpolicies",
    "poddisruptionbudgets",
    "statefulsets",
    "jobs",
    "deployments",
    "horizontalpodautoscalers",
)
OPERATOR = f":{OPERATOR_NAMESPACE}:ecommerce-operator"
_RESTORED_WITHIN = 180
"""Seconds. On a busy machine the API server answers so late that the operator starts again before it repairs. The
operator's resync, after 600 s, would hide a missed event: this is far less.
"""


def children(namespace: Namespace, *kinds: str) -> dict[str, Object]:
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in namespace.list(",".join(kinds or KINDS), OURS)}


def uids(objects: dict[str, Object]) -> dict[str, str]:
    return {name: one["metadata"]["uid"] for name, one in objects.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_deleted_child_is_restored(namespace: Namespace, kind: str) -> None:
    before = children(namespace, kind)
    assert before, f"the shop has no {kind}"

    namespace.kubectl("delete", kind, "--selector", OURS, "--wait=false")

    def are_back() -> bool:
        after = children(namespace, kind)
        return set(before) == set(after) and not set(uids(before).values()) & set(uids(after).values())

    eventually(are_back, _RESTORED_WITHIN, f"all {len(before)} {kind} are back")


def test_a_deleted_secret_is_restored_with_the_password_of_its_database(namespace: Namespace) -> None:
    before = namespace.secret("shop-order-db")

    namespace.kubectl("delete", "secret", "shop-order-db")

    eventually(
        lambda: "secret/shop-order-db" in namespace.kubectl("get", "secret", "--output", "name").split(),
        _RESTORED_WITHIN,
        "the Secret is back",
    )
    assert namespace.secret("shop-order-db") == before


CHANGES = [
    ("deployment/shop-order", "/spec/template/spec/containers/0/image", "nowhere/order:wrong"),
    ("deployment/shop-payment", "/spec/replicas", 3),  # an autoscaler has those of order
    ("horizontalpodautoscaler/shop-order", "/spec/maxReplicas", 100),
    ("deployment/shop-order", "/metadata/labels/app.kubernetes.io~1version", "wrong"),
    ("statefulset/shop-order-db", "/spec/template/spec/containers/0/image", "nowhere/postgres:wrong"),
    ("service/shop-order", "/spec/ports/0/port", 1),
    ("service/shop-order-grpc", "/spec/selector/app.kubernetes.io~1component", "wrong"),
    ("networkpolicy/shop-order", "/spec/policyTypes", ["Egress"]),
    ("poddisruptionbudget/shop-order", "/spec/maxUnavailable", 100),
    ("serviceaccount/shop-order", "/automountServiceAccountToken", True),
    ("configmap/shop-rabbitmq", "/data", {}),
    ("secret/shop-jwt", "/data/JWT_SECRET", "d3Jvbmc="),
]


@pytest.mark.parametrize(("child", "path", "value"), CHANGES, ids=[f"{child}{path}" for child, path, _ in CHANGES])
def test_a_changed_field_that_the_operator_owns_is_restored(
    namespace: Namespace, child: str, path: str, value: object
) -> None:
    before = _field(namespace, child, path)
    assert before != value

    namespace.kubectl(
        "patch", child, "--type", "json", "--patch", json.dumps([{"op": "replace", "path": path, "value": value}])
    )

    eventually(lambda: _field(namespace, child, path) == before, _RESTORED_WITHIN, f"{child}{path} is {before!r} again")
    kind, name = child.split("/")
    if kind == "statefulset":  # Kubernetes never replaces a pod that was made of the wrong template in between
        namespace.kubectl("delete", "pod", f"{name}-0")


def test_an_autoscaler_owns_the_replicas_of_its_deployment(namespace: Namespace) -> None:
    scaling = {"services": {"review": {"autoscaling": {"enabled": True, "min": 1, "max": 3}}}}
    namespace.patch("ecp", "shop", {"spec": scaling})
    try:
        eventually(lambda: _has_autoscaler(namespace, "review"), _RESTORED_WITHIN, "the autoscaler is there")
        _complete(namespace)
        began = now()

        namespace.kubectl("scale", "deployment/shop-review", "--replicas=2")
        namespace.kubectl("rollout", "status", "deployment/shop-review", "--timeout=90s")
        _complete(namespace)

        # The autoscaler may have taken the second pod away again: only the operator must not.
        assert [
            write
            for write in writes(audit_log(began), OPERATOR)
            if write.startswith("patch deployments/shop/shop-review")
        ] == []
    finally:
        namespace.patch("ecp", "shop", {"spec": {"services": {"review": None}}})
    eventually(
        lambda: "Deployment/shop-review" in children(namespace, "deployments"),
        _RESTORED_WITHIN,
        "the Deployment is there",
    )
    eventually(
        lambda: not _has_autoscaler(namespace, "review"), _RESTORED_WITHIN, "the autoscaler that left the spec is gone"
    )
    namespace.wait_ready("shop")


def test_three_resyncs_and_a_restart_write_nothing_and_restart_no_pod(namespace: Namespace) -> None:
    _complete(namespace)
    pods, began = _pods(namespace), now()

    for _ in range(3):
        _resync(namespace)
    operator = Namespace(OPERATOR_NAMESPACE)
    operator.kubectl("rollout", "restart", "deployment/ecommerce-operator")
    operator.kubectl("rollout", "status", "deployment/ecommerce-operator", "--timeout=120s")
    _resync(namespace)

    assert writes(audit_log(began), OPERATOR) == []
    assert _pods(namespace) == pods


def _has_autoscaler(namespace: Namespace, service: str) -> bool:
    return f"HorizontalPodAutoscaler/shop-{service}" in children(namespace, "horizontalpodautoscalers")


def _field(namespace: Namespace, child: str, path: str) -> object:
    found: object = namespace.get(*child.split("/", 1))
    for part in path.strip("/").split("/"):
        key = part.replace("~1", "/")
        if isinstance(found, list):
            found = found[int(key)]
        elif isinstance(found, dict):
            found = found.get(key)
    return found


def _pods(namespace: Namespace) -> dict[str, int]:
    """Returns the restart count by pod, for pods that are ready."""
    pods = namespace.list("pods", "app.kubernetes.io/part-of=ecommerce")
    serving = [
        pod for pod in pods if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]
    return {
        pod["metadata"]["uid"]: sum(c["restartCount"] for c in pod["status"]["containerStatuses"]) for pod in serving
    }


def _passes() -> dict[str, float]:
    """Returns the passes that the leading operator has finished, by its pod; empty while none leads."""
    metrics = Namespace(OPERATOR_NAMESPACE).metrics("app.kubernetes.io/component=operator")
    return {
        pod: one["ecommerce_operator_reconcile_duration_seconds_count"]
        for pod, one in metrics.items()
        if one["ecommerce_operator_leading"] == 1
    }


def _resync(namespace: Namespace) -> None:
    """Triggers a reconcile of the shop by changing an annotation of the operator's prefix: others wake no platform."""
    eventually(_passes, 60, "an operator leads")
    before = _passes()
    annotation = f"platform.ecommerce.dev/looked-at={time.monotonic_ns()}"
    namespace.kubectl("annotate", "ecp", "shop", "--overwrite", annotation)
    eventually(
        lambda: any(count > before.get(pod, 0) for pod, count in _passes().items()),
        30,
        "the operator has looked at the shop",
    )


def _complete(namespace: Namespace) -> None:
    """Waits until the shop is Ready and the operator has observed its generation."""
    namespace.wait_ready("shop")
    _resync(namespace)
