"""The constant load counts every request, and each that fails, under the phase in which it began."""

import asyncio
from datetime import UTC, datetime

import httpx
from devtools.shop_client import Shop
from ecommerce_client import Client
from ecommerce_client.models.user import TokensResponse, UserResponse
from shop_e2e.faults.constant_load import ConstantLoad

USER = UserResponse(
    id=1, email="buyer@example.com", email_verified=True, role="customer", is_active=True, display_name="",
    locale="en", phone=None, created_at=datetime(2026, 11, 30, tzinfo=UTC),
)  # fmt: skip
TOKENS = TokensResponse(access_token="a", refresh_token="r", expires_in=300, user=USER)


async def test_a_request_that_is_refused_or_not_answered_is_a_failure_of_its_phase() -> None:
    ordered = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/register"):
            return httpx.Response(201, json={"data": TOKENS.model_dump(mode="json")})
        if request.url.path.endswith("/orders"):
            ordered.set()
            raise httpx.ConnectError("refused", request=request)
        failed = request.url.path.endswith("/products/7")
        return httpx.Response(503, text="draining") if failed else httpx.Response(200, json={"data": []})

    async with Shop("http://shop") as shop:
        await shop.http.aclose()
        shop.http = httpx.AsyncClient(base_url="http://shop/api/v1", transport=httpx.MockTransport(answer))
        shop.api = Client("http://shop", http=shop.http)
        load = ConstantLoad(shop, product=7, rate=100, phase="upgrade")
        async with load.running():
            await ordered.wait()

    kinds = {(one.phase, one.request, one.status) for one in load.failures}
    assert kinds == {("upgrade", "details", 503), ("upgrade", "order", None)}
    assert load.sent["upgrade"] > len(load.failures), "lists are answered"
    assert f"| upgrade | {load.sent['upgrade']} | {len(load.failures)} |" in load.table()
