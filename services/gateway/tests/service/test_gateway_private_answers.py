"""The real gateway before the real inventory: what a seller sees of the stock reaches no other caller."""

from collections.abc import AsyncIterator

import httpx
import pytest
from chassis.http.authentication import Role
from chassis_testing.broker import new_vhost
from chassis_testing.callers import KNOWN_CALLERS, OWN_TOKENS
from chassis_testing.databases import connect_to, migrated_database
from chassis_testing.tokens import TokenIssuer
from gateway_harness import OpenGateway, serve
from inventory_service.app import build
from inventory_service.settings import Settings

SELLER, PRODUCT = 7, "/api/v1/inventory/1"
UNITS = 987_654
"""More than `EXACT_STOCK_UP_TO`, so that the public is not told."""


@pytest.fixture(scope="module")
async def shop(open_gateway: OpenGateway, user_grpc: str) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway with its answer cache in front of an inventory that has one product of the seller."""
    async with migrated_database("inventory_service") as database, new_vhost() as broker_url:
        async with connect_to(database) as sql:
            await sql.execute("INSERT INTO stock (product_id, on_hand, seller_id) VALUES (1, $1, $2)", UNITS, SELLER)
        settings = Settings(
            **database.model_dump(),
            rabbitmq_url=broker_url,
            user_grpc=user_grpc,
            product_grpc=user_grpc,
            order_grpc=user_grpc,
            grpc_port=0,
            grpc_tokens=OWN_TOKENS,
            grpc_callers=KNOWN_CALLERS,
        )
        service = await build(settings)
        try:
            async with (
                serve(service.http) as url,
                open_gateway(
                    url, answer_cache_bytes=1024**2, answer_cache_seconds=10, upstream_deadline_seconds=30
                ) as gateway,
            ):
                yield gateway
        finally:
            for close in service.closers:
                await close()


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
@pytest.mark.parametrize("alias", ["/api/v1", "/api"])
async def test_the_stock_that_a_seller_sees_is_never_served_to_another_caller(
    shop: httpx.AsyncClient, issuer: TokenIssuer, accept: str, alias: str
) -> None:
    path = PRODUCT.replace("/api/v1", alias)
    seller = {"Accept": accept, **issuer.bearer(SELLER, Role.SELLER)}
    others = [{"Accept": accept, **issuer.bearer(8, role)} for role in (Role.CUSTOMER, Role.SELLER)]

    for _ in range(3):
        own = await shop.get(path, headers=seller)
        assert (own.status_code, str(UNITS) in own.text) == (200, True)
        assert own.headers["cache-control"] == "private, no-store"
        for headers in ({"Accept": accept}, *others):
            validated = {**headers, "If-None-Match": f"{own.headers['etag']}, *"}
            for sent in (headers, validated):
                shown = await shop.get(path, headers=sent)
                assert (shown.status_code, str(UNITS) in shown.text) == (200, False)


async def test_what_the_public_sees_may_be_stored_and_varies_by_caller(
    shop: httpx.AsyncClient, issuer: TokenIssuer
) -> None:
    public = await shop.get(PRODUCT)
    own = await shop.get(PRODUCT, headers=issuer.bearer(SELLER, Role.SELLER))

    assert {"cache-control", "etag", "cache-status"}.isdisjoint(public.headers)
    assert "Authorization" in public.headers["vary"].split(", ")
    assert "Authorization" in own.headers["vary"].split(", ")
