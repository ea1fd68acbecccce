"""Under constant load no request fails: through an upgrade, one that fails and goes back by itself, a rollback by hand,
and a rotation of all credentials.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from devtools.services import SERVICES
from devtools.shop_client import Shop
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace, create_namespace, delete_namespace, eventually
from shop_e2e.faults.constant_load import ConstantLoad

from platform_operator.api.conditions import RotationKind

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.undisturbed]

NAME, NODE_PORT = "busy", 30081
MINUTES = 60.0
UPGRADE_TIMEOUT = 20 * MINUTES
GATES = {"observeSeconds": 5, "timeoutSeconds": 180}
LIFETIMES = {"accessTokenSeconds": 900, "verificationTokenSeconds": 60, "resetTokenSeconds": 60}
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


@asynccontextmanager
async def constant_load(namespace: Namespace) -> AsyncIterator[ConstantLoad]:
    """Runs a constant load on the shop, prints its table, and asserts that no request has failed."""
    secret = namespace.secret(f"{NAME}-admin")
    async with Shop(shops.gateway_url(NODE_PORT)) as shop:
        await shop.wait_until_healthy(120)
        admin = await shop.log_in(secret["ADMIN_EMAIL"], secret["ADMIN_PASSWORD"])
        _, product = await shop.stocked_product(admin, 100_000)
        load = ConstantLoad(shop, product)
        try:
            async with load.running():
                yield load
        finally:
            print(f"\n{load.table()}", *load.failures, sep="\n")
    assert load.failures == []


async def test_no_request_fails_through_an_upgrade_a_failed_one_and_a_rollback(busy: Namespace) -> None:
    first = status(busy)["version"]
    good, bad = f"{first}-next", f"{first}-bad"
    for service in SERVICES:
        shops.tag_image(service, first, good)
        if service != WITHOUT_IMAGE:
            shops.tag_image(service, first, bad)

    async with constant_load(busy) as load:
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


async def test_no_request_fails_through_a_rotation_of_all_credentials(busy: Namespace) -> None:
    async with constant_load(busy) as load:
        load.phase = "rotation of all credentials"
        busy.kubectl("annotate", "--overwrite", "ecp", NAME, "platform.ecommerce.dev/rotate=all:load")
        await reached(lambda: rotated(busy), "all credentials are rotated", 45 * MINUTES)


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


def rotated(namespace: Namespace) -> bool:
    found = namespace.get("ecp", NAME)["status"]
    reasons = [one["reason"] for one in found["conditions"] if one["type"] == "Rotating"]
    return reasons == ["Rotated"] and {one["name"] for one in found["rotation"]} == {*RotationKind}


async def reached(check: Callable[[], bool], what: str, within: float = UPGRADE_TIMEOUT) -> None:
    await asyncio.to_thread(eventually, check, within, what)
