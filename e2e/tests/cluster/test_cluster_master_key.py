"""A shop moves to the next master key under constant load, and no request fails (docs/adr/0069).

The operator is one of its own class, since the master key is that of all shops of an operator.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from shop_e2e.cluster import backups, shops
from shop_e2e.cluster.kubectl import (
    CONTEXT,
    OPERATOR_NAMESPACE,
    Namespace,
    Object,
    command,
    create_namespace,
    delete_namespace,
)
from shop_e2e.cluster.loaded_shops import constant_load, reached

from platform_operator.api.conditions import RotationKind
from platform_operator.api.kinds import ANNOTATION_KEY_ID, CHILD_LABELS
from platform_operator.secrets.master_key_store import MASTER_KEY_NAME

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.undisturbed]

CHART = Path(__file__).resolve().parents[3] / "charts/operator"
OPERATOR = "next-key"
"""The class of the operator, and its release."""
NAME, NODE_PORT = "moving", 30081
MOVE_TIMEOUT = 60 * 60.0
"""The steps of `cache`, `broker` and `authority` wait for five minutes each, and those of `signing` for six."""
LIFETIMES = {"accessTokenSeconds": 300, "verificationTokenSeconds": 60, "resetTokenSeconds": 60}
"""Short ones: the former signing secret is valid for as long as a token may be."""


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    yield create_namespace("e2e-master-key")
    delete_namespace("e2e-master-key", wait=False)


@pytest.fixture(scope="module")
def operator(namespace: Namespace) -> Iterator[None]:
    """An operator in the namespace of its shop, of the release that runs in the cluster."""
    shared = Namespace(OPERATOR_NAMESPACE).get("deployment", "ecommerce-operator")
    image = shared["spec"]["template"]["spec"]["containers"][0]["image"]
    registry, _, rest = image.partition("/")
    values = {
        "image.registry": registry,
        "image.tag": rest.rpartition(":")[2],
        "storeRegistry": f"{registry}/library/",
        "operatorClass": OPERATOR,
        "watchNamespaces": f"{{{namespace.name}}}",
        "crd.install": "false",
        "replicas": "1",
    }
    helm = ("helm", "--kube-context", CONTEXT, "--namespace", namespace.name)
    arguments = [f"--set={name}={value}" for name, value in values.items()]
    command(*helm, "install", OPERATOR, str(CHART), "--wait", "--timeout=3m", *arguments, timeout=200)
    yield
    command(*helm, "uninstall", OPERATOR)


@pytest.fixture(scope="module")
def moving(namespace: Namespace, operator: None) -> Namespace:
    """The namespace of a shop that is Ready."""
    settings = {"user": LIFETIMES}
    namespace.apply(
        shops.platform(NAME, operatorClassName=OPERATOR, settings=settings), shops.node_port(NAME, NODE_PORT)
    )
    namespace.wait_ready(NAME)
    return namespace


async def test_a_shop_moves_to_the_next_master_key_and_no_request_fails(moving: Namespace) -> None:
    former, following = moving.get("secret", MASTER_KEY_NAME)["data"]["key"], backups.new_key()
    (former_id,) = key_ids(moving)
    async with constant_load(moving, NAME, NODE_PORT) as load:
        load.phase = "move to the next master key"
        replace_keys(moving, key=following, previous=former)
        await reached(lambda: has_moved(moving, former_id), "no object derives from the former key", MOVE_TIMEOUT)
        rows = {row["name"]: row for row in status(moving)["rotation"]}
        assert {name: (row["generation"], row["step"]) for name, row in rows.items()} == dict.fromkeys(
            RotationKind, (1, "Done")
        )

        load.phase = "without the former master key"
        replace_keys(moving, key=following)
        moving.patch("ecp", NAME, {"spec": {"services": {"review": {"env": {"LOG_LEVEL": "DEBUG"}}}}})
        moving.wait_rolled_out(NAME)
    (moved_id,) = key_ids(moving)
    assert moved_id == status(moving)["masterKeyId"] != former_id


def replace_keys(namespace: Namespace, **keys: str) -> None:
    """Replaces the Secret as docs/operations.md says, and restarts the operator, which reads it when it starts."""
    labels = {"app.kubernetes.io/name": "ecommerce-operator"}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": MASTER_KEY_NAME, "labels": labels},
        "immutable": True,
        "data": keys,
    }
    namespace.kubectl("replace", "--force", "--filename", "-", stdin=json.dumps(secret))
    namespace.kubectl("rollout", "restart", f"deployment/{OPERATOR}")
    namespace.kubectl("rollout", "status", f"deployment/{OPERATOR}", "--timeout=180s", timeout=200)


def key_ids(namespace: Namespace) -> set[str]:
    """Returns the ids of the master keys that the objects of the shop derive from."""
    selector = ",".join(f"{name}={value}" for name, value in CHILD_LABELS.items())
    found = namespace.list("secret,configmap", selector)
    ids = (one["metadata"].get("annotations", {}).get(ANNOTATION_KEY_ID, "") for one in found)
    return {one for text in ids for one in text.split("+") if one}


def has_moved(namespace: Namespace, former_id: str) -> bool:
    reasons = [one["reason"] for one in status(namespace)["conditions"] if one["type"] == "Rotating"]
    return reasons == ["Rotated"] and former_id not in key_ids(namespace)


def status(namespace: Namespace) -> Object:
    found: Object = namespace.get("ecp", NAME)["status"]
    return found
