"""No request fails under constant load: through an upgrade, one that fails and goes back by itself, a rollback by hand,
and a rotation of all credentials.
"""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

import pytest
from devtools.services import SERVICES
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace, create_namespace, delete_namespace
from shop_e2e.cluster.loaded_shops import constant_load, reached

from platform_operator.api.conditions import RotationKind
from platform_operator.secrets.rotation import REQUESTED

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.undisturbed]

NAME, NODE_PORT = "busy", 30081
ROTATION_TIMEOUT = 45 * 60.0
ROTATIONS = (
    (RotationKind.GRPC, RotationKind.DATABASES, RotationKind.OWNERS, RotationKind.ADMIN),
    (RotationKind.SIGNING, RotationKind.CACHE, RotationKind.BROKER),  # their steps wait for minutes
)
GATES = {"observeSeconds": 5, "timeoutSeconds": 120}
LIFETIMES = {"accessTokenSeconds": 300, "verificationTokenSeconds": 60, "resetTokenSeconds": 60}
"""Short ones: the former signing secret is valid for as long as a token may be."""
WITHOUT_IMAGE = "gateway"
"""The service that the bad version lacks: all others are upgraded before, and have to go back."""


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    yield create_namespace("e2e-upgrade-load")
    delete_namespace("e2e-upgrade-load", wait=False)


@pytest.fixture(scope="module")
def busy(namespace: Namespace) -> Namespace:
    """The namespace of a shop that is Ready."""
    settings = {"user": LIFETIMES}
    namespace.apply(shops.platform(NAME, upgrade=GATES, settings=settings), shops.node_port(NAME, NODE_PORT))
    namespace.wait_ready(NAME)
    return namespace


async def test_no_request_fails_through_an_upgrade_a_failed_one_and_a_rollback(busy: Namespace) -> None:
    first = status(busy)["version"]
    good, bad = f"{first}-next", f"{first}-bad"
    for service in SERVICES:
        shops.tag_image(service, first, good)
        if service != WITHOUT_IMAGE:
            shops.tag_image(service, first, bad)

    async with constant_load(busy, NAME, NODE_PORT) as load:
        load.phase = "upgrade"
        set_version(busy, good)
        await reached(lambda: upgraded(busy) == "True" and status(busy)["version"] == good, "it is upgraded")

        load.phase = "upgrade that fails and goes back by itself"
        set_version(busy, bad)
        await reached(lambda: upgraded(busy) == "RolledBack", "it has gone back by itself")
        assert status(busy)["version"] == good

        load.phase = "rollback by hand"
        set_version(busy, first)
        await reached(lambda: upgraded(busy) == "True" and status(busy)["version"] == first, "it is rolled back")
        await asyncio.to_thread(busy.wait_rolled_out, NAME)


@pytest.mark.parametrize("kinds", ROTATIONS, ids=",".join)
async def test_no_request_fails_through_the_rotations_of_all_credentials(
    busy: Namespace, kinds: Sequence[RotationKind]
) -> None:
    async with constant_load(busy, NAME, NODE_PORT) as load:
        load.phase = f"rotation of {', '.join(kinds)}"
        for kind in kinds:
            busy.kubectl("annotate", "--overwrite", "ecp", NAME, f"platform.ecommerce.dev/rotate={kind}:load")
            await reached(partial(begun, busy, kind), f"the rotation of {kind} has begun")
        await reached(partial(rotated, busy), "all of them are rotated", ROTATION_TIMEOUT)


def test_all_kinds_of_credentials_are_rotated() -> None:
    assert sorted(chain(*ROTATIONS)) == sorted(REQUESTED), "the authority rotates with the master key alone"


def set_version(namespace: Namespace, version: str) -> None:
    namespace.patch("ecp", NAME, {"spec": {"version": version}})


def status(namespace: Namespace) -> dict[str, str]:
    found: dict[str, str] = namespace.get("ecp", NAME)["status"]
    return found


def upgraded(namespace: Namespace) -> str:
    """Returns True if the newest spec is rolled out, or else the reason why not."""
    platform = namespace.get("ecp", NAME)
    if platform["status"].get("observedGeneration") != platform["metadata"]["generation"]:
        return ""
    (condition,) = [one for one in platform["status"]["conditions"] if one["type"] == "Upgraded"]
    return str(condition["status"] if condition["status"] == "True" else condition["reason"])


def begun(namespace: Namespace, kind: RotationKind) -> bool:
    rows = namespace.get("ecp", NAME)["status"].get("rotation", ())
    return any(row["name"] == kind for row in rows)


def rotated(namespace: Namespace) -> bool:
    conditions = namespace.get("ecp", NAME)["status"]["conditions"]
    return [one["reason"] for one in conditions if one["type"] == "Rotating"] == ["Rotated"]
