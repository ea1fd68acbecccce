"""Tests of the client against a fake shop."""

import json
import uuid
from datetime import UTC, datetime

import httpx
import pytest
from ecommerce_client import Client, ProblemError
from ecommerce_client.models.inventory import SetStockRequest
from ecommerce_client.models.user import ProfileRequest

_URL = "http://shop.example"


class FakeShop:
    """A shop that returns the given responses in order, and records requests."""

    def __init__(self, *responses: httpx.Response) -> None:
        self._responses = list(responses)
        self.requests: list[httpx.Request] = []
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._respond))

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._responses.pop(0)

    def client(self) -> Client:
        return Client(f"{_URL}/", http=self.http)


def data(value: object) -> httpx.Response:
    return httpx.Response(200, json={"data": value})


TERMS = {"low_stock_threshold": 1, "max_per_order": None, "is_exact": True}


def stock(product: int) -> dict[str, object]:
    return {"product_id": product, "on_hand": 5, "reserved": 2, "committed": 0, "available": 3, **TERMS}


def categories(page: int, limit: int, total: int) -> httpx.Response:
    """Returns a page, by its number, of `total` categories, whose ids begin at 0."""
    numbers = range((page - 1) * limit, min(page * limit, total))
    category: dict[str, object] = {"name": "Cups", "parent_id": None, "children": []}
    items = [{"id": number, **category} for number in numbers]
    return httpx.Response(200, json={"data": items, "page": page, "limit": limit, "total": total})


async def test_a_response_is_a_model_that_ignores_unknown_fields() -> None:
    shop = FakeShop(data({**stock(7), "added_later": True}))

    found = await shop.client().inventory.get_stock(7)

    assert (found.product_id, found.available) == (7, 3)
    assert str(shop.requests[0].url) == f"{_URL}/api/v1/inventory/7"
    assert "authorization" not in shop.requests[0].headers


async def test_a_token_is_sent_only_by_the_client_that_has_it() -> None:
    shop = FakeShop(data(stock(1)), data(stock(1)))
    guest = shop.client()

    await guest.with_token("ada's").inventory.set_stock(1, SetStockRequest(quantity=5))
    await guest.inventory.get_stock(1)

    assert [request.headers.get("authorization") for request in shop.requests] == ["Bearer ada's", None]
    assert json.loads(shop.requests[0].content) == {"quantity": 5}


async def test_unset_fields_are_not_sent_and_null_is() -> None:
    me = {"id": 1, "email": "ada@example.com", "role": "customer", "display_name": "Ada", "locale": "en", "phone": None}
    user = {**me, "email_verified": True, "is_active": True, "created_at": "2026-01-31T09:30:00Z"}
    shop = FakeShop(data(user))

    await shop.client().user.put_me(ProfileRequest(phone=None))

    assert json.loads(shop.requests[0].content) == {"phone": None}


async def test_parameters_are_encoded_as_json_and_omitted_if_none() -> None:
    shop = FakeShop(data([]))

    await shop.client().order.get_sales(from_=datetime(2026, 1, 31, tzinfo=UTC), interval="week")

    assert dict(shop.requests[0].url.params) == {"from": "2026-01-31T00:00:00Z", "interval": "week"}


async def test_a_response_without_a_body_is_none() -> None:
    shop = FakeShop(httpx.Response(204))

    await shop.client().order.cancel_order(uuid.UUID(int=1))

    assert (shop.requests[0].method, shop.requests[0].url.path) == ("DELETE", f"/api/v1/orders/{uuid.UUID(int=1)}")


async def test_a_problem_is_an_exception_with_its_code() -> None:
    field = {"field": "items.0.quantity", "message": "too few"}
    problem = {"type": "urn:x", "title": "Invalid field", "status": 422, "code": "invalid_field", "detail": "too few"}
    shop = FakeShop(httpx.Response(422, json={**problem, "errors": [field], "shortages": [7]}))

    with pytest.raises(ProblemError, match="GET /api/v1/cart: 422 invalid_field: too few") as raised:
        await shop.client().order.get_cart()

    error = raised.value
    assert (error.status, error.code, error.retry_after) == (422, "invalid_field", 0)
    assert [(wrong.field, wrong.message) for wrong in error.problem.errors or ()] == [("items.0.quantity", "too few")]
    assert error.problem.model_extra == {"shortages": [7]}


async def test_an_error_without_a_problem_document_has_no_code() -> None:
    shop = FakeShop(httpx.Response(502, text="<h1>Bad gateway</h1>", headers={"Retry-After": "3"}))

    with pytest.raises(ProblemError) as raised:
        await shop.client().order.get_cart()

    error = raised.value
    assert (error.status, error.code, error.retry_after) == (502, "", 3)
    assert (error.problem.type, error.problem.detail) == ("about:blank", "<h1>Bad gateway</h1>")


async def test_awaiting_a_listing_returns_one_page() -> None:
    shop = FakeShop(categories(page=2, limit=2, total=5))

    page = await shop.client().product.list_categories(page=2, limit=2)

    assert [category.id for category in page.data] == [2, 3]
    assert (page.total, dict(shop.requests[0].url.params)) == (5, {"page": "2", "limit": "2"})


async def test_iterating_a_listing_by_number_fetches_all_pages_at_the_largest_size() -> None:
    shop = FakeShop(categories(1, 100, 250), categories(2, 100, 250), categories(3, 100, 250))

    found = [category.id async for category in shop.client().product.list_categories()]

    assert found == list(range(250))
    assert [dict(request.url.params) for request in shop.requests] == [
        {"limit": "100"},
        {"limit": "100", "page": "2"},
        {"limit": "100", "page": "3"},
    ]


async def test_iterating_a_listing_follows_its_cursor() -> None:
    page: dict[str, object] = {"data": [], "page": 1, "limit": 100, "total": 9, "total_is_exact": True}
    shop = FakeShop(*(httpx.Response(200, json={**page, "next": cursor}) for cursor in ("after-7", None)))

    assert [product async for product in shop.client().product.list_products(q="cup")] == []
    assert [dict(request.url.params) for request in shop.requests] == [
        {"q": "cup", "limit": "100"},
        {"q": "cup", "limit": "100", "cursor": "after-7"},
    ]


async def test_an_error_on_a_later_page_is_raised_during_iteration() -> None:
    shop = FakeShop(categories(1, 100, 250), httpx.Response(503))

    with pytest.raises(ProblemError):
        async for _ in shop.client().product.list_categories():
            pass
    assert len(shop.requests) == 2


async def test_connections_are_closed_by_their_opener() -> None:
    shop = FakeShop()
    async with shop.client() as brought, Client(_URL) as own:
        pass

    assert not shop.http.is_closed
    assert own._http.is_closed
    assert not brought._http.is_closed
