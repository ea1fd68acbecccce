"""The invariants in a shop's status are those of its databases, and a rate limit holds for the whole shop, not for one
pod.
"""

import asyncio
from collections import Counter
from functools import partial

import httpx
import pytest
from devtools.shop_client import Person, Shop
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace, Object, eventually

pytestmark = pytest.mark.cluster

_STATUS_WITHIN = 120.0
"""The services check their invariants every half minute, and the operator scrapes them every half minute."""


async def test_a_broken_invariant_is_in_the_status_until_it_holds_again(
    namespace: Namespace, shop: Shop, admin: Person
) -> None:
    _, product = await shop.stocked_product(admin, 3)
    customer = await shop.register()
    order = await customer.buy((product, 1))

    _sql(namespace, "inventory", f"UPDATE stock SET reserved = reserved + 1 WHERE product_id = {product}")
    _sql(namespace, "payment", f"UPDATE payments SET status = 'partially_refunded' WHERE order_id = '{order.id}'")
    try:
        await asyncio.to_thread(_becomes, namespace, "NothingOversold", "False")
        await asyncio.to_thread(_becomes, namespace, "NoDoubleCharge", "False")
        stock, money = _condition(namespace, "NothingOversold"), _condition(namespace, "NoDoubleCharge")
        assert "reserved_is_what_open_reservations_hold" in stock["message"]
        assert "status_matches_refunds" in money["message"]
        assert (_condition(namespace, "InvariantsHold")["status"], _condition(namespace, "Ready")["status"]) == (
            "True",
            "True",
        )
    finally:
        _sql(namespace, "inventory", f"UPDATE stock SET reserved = reserved - 1 WHERE product_id = {product}")
        _sql(namespace, "payment", f"UPDATE payments SET status = 'completed' WHERE order_id = '{order.id}'")

    await asyncio.to_thread(_becomes, namespace, "NothingOversold", "True")
    await asyncio.to_thread(_becomes, namespace, "NoDoubleCharge", "True")


async def test_two_gateways_share_one_rate_limit(namespace: Namespace, shop: Shop) -> None:
    customer = await shop.register()
    # Where Redis takes longer than the deadline, requests pass uncounted: here it may be slow.
    patient = {"RATE_LIMITS": "auth=off,read=20/3600", "LIMITS_DEADLINE_SECONDS": "10"}
    limited = {"replicas": 2, "autoscaling": {"enabled": False}, "env": patient}
    before = namespace.get("ecp", "shop")["spec"]["services"]["gateway"]
    namespace.patch("ecp", "shop", {"spec": {"services": {"gateway": limited}}})
    try:
        await asyncio.to_thread(shops.wait_for_gateways, namespace)  # old ones have the limits of before
        # Each request has a connection of its own, so that any gateway pod may get it.
        async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_keepalive_connections=0)) as http:
            get = partial(http.get, f"{shop.url}/api/v1/users/me", headers=customer.headers)
            answers = await asyncio.gather(*(get() for _ in range(60)))
    finally:
        env = {**dict.fromkeys(patient), **before["env"]}
        namespace.patch("ecp", "shop", {"spec": {"services": {"gateway": {**dict.fromkeys(limited), "env": env}}}})
        await asyncio.to_thread(shops.wait_for_gateways, namespace)

    assert Counter(answer.status_code for answer in answers) == {200: 20, 429: 40}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "too_many_requests"
    assert 0 < int(refused.headers["Retry-After"]) <= 3600 / 20


def _becomes(namespace: Namespace, condition: str, status: str) -> None:
    eventually(lambda: _condition(namespace, condition)["status"] == status, _STATUS_WITHIN, f"{condition} is {status}")


def _condition(namespace: Namespace, kind: str) -> Object:
    conditions: dict[str, Object] = {one["type"]: one for one in namespace.get("ecp", "shop")["status"]["conditions"]}
    return conditions[kind]


def _sql(namespace: Namespace, service: str, statement: str) -> None:
    psql = 'psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --command "$0"'
    namespace.kubectl("exec", f"shop-{service}-db-0", "--", "sh", "-c", psql, statement)
