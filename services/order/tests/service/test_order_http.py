"""Orders over HTTP and gRPC, on a real PostgreSQL."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from chassis.grpc.client import call
from chassis.http.authentication import Role
from chassis.types.ids import uuid7
from chassis_testing.ids import UNKNOWN_ID
from order_harness import ADMIN, EURO_PRODUCT, EXPENSIVE_PRODUCT, UNKNOWN_PRODUCT, OrderApp
from prometheus_client import REGISTRY
from shopapi.order.v1.order_pb2 import HasBoughtRequest, HasBoughtResponse


async def test_an_order_takes_names_and_prices_from_the_catalogue(app: OrderApp) -> None:
    response = await app.order_items(11, (2, 3), (1, 1))

    assert response.status_code == 201
    placed = response.json()["data"]
    assert response.headers["location"] == f"/api/v1/orders/{placed['id']}"
    assert UUID(placed["id"]).version == 7
    assert datetime.fromisoformat(placed["expires_at"]) - datetime.fromisoformat(placed["created_at"]) == timedelta(
        minutes=30
    )
    assert placed == {
        "id": placed["id"],
        "buyer_id": 11,
        "status": "pending",
        "items": [
            {"product_id": 1, "name": "Product 1", "quantity": 1, "unit_price": usd(100), "total": usd(100)},
            {"product_id": 2, "name": "Product 2", "quantity": 3, "unit_price": usd(200), "total": usd(600)},
        ],
        "subtotal": usd(700),
        "shipping": usd(0),
        "tax": usd(0),
        "total": usd(700),
        "shipping_address": None,
        "shipment": None,
        "former_shipments": [],
        "manual_payment": None,
        "payment": None,
        "cancel_reason": None,
        "history": [{"status": "pending", "at": placed["created_at"], "by": "buyer"}],
        "created_at": placed["created_at"],
        "expires_at": placed["expires_at"],
    }
    assert (await app.get(placed["id"], 11)).json()["data"] == placed
    assert app.inventory.reservations[UUID(placed["id"])] == {1: 1, 2: 3}


def usd(amount: int) -> dict[str, object]:
    return {"amount": amount, "currency": "USD"}


async def test_lines_of_one_product_are_added_up(app: OrderApp) -> None:
    placed = await app.place_order(11, (5, 1), (4, 1), (5, 2))

    assert [(item["product_id"], item["quantity"]) for item in placed["items"]] == [(4, 1), (5, 3)]


async def test_the_stored_total_is_the_sum_of_the_stored_items(app: OrderApp) -> None:
    await app.place_order(11, (5, 7), (4, 9))
    async with app.sql() as sql:
        wrong = await sql.fetch(
            "SELECT id FROM orders o WHERE total_amount <> "
            "(SELECT sum(quantity * unit_amount) FROM order_items WHERE order_id = o.id)"
        )

    assert wrong == []


async def test_unknown_products_are_refused_by_id(app: OrderApp) -> None:
    response = await app.order_items(12, (1, 1), (UNKNOWN_PRODUCT, 1), (UNKNOWN_PRODUCT + 1, 1))

    assert (response.status_code, response.json()["code"]) == (422, "unknown_product")
    assert response.json()["product_ids"] == [UNKNOWN_PRODUCT, UNKNOWN_PRODUCT + 1]
    assert await app.orders_of(12) == []


async def test_an_order_has_one_currency(app: OrderApp) -> None:
    response = await app.order_items(12, (1, 1), (EURO_PRODUCT, 1))

    assert (response.status_code, response.json()["code"]) == (422, "mixed_currencies")
    assert response.json()["currencies"] == ["EUR", "USD"]


async def test_too_large_a_total_is_refused(app: OrderApp) -> None:
    app.products.prices[EXPENSIVE_PRODUCT] = 10**13

    response = await app.order_items(12, (EXPENSIVE_PRODUCT, 1_000))

    assert (response.status_code, response.json()["code"]) == (422, "total_too_large")


async def test_a_shortage_is_refused_with_what_is_available(app: OrderApp) -> None:
    app.inventory.stock[3] = 2

    response = await app.order_items(12, (1, 1), (3, 5))

    assert (response.status_code, response.json()["code"]) == (409, "out_of_stock")
    assert response.json()["products"] == [{"product_id": 3, "requested": 5, "available": 2, "is_exact": True}]
    assert await app.orders_of(12) == []


@pytest.mark.parametrize("neighbour", ["products", "inventory"])
async def test_an_unavailable_neighbour_is_a_503_and_no_order(app: OrderApp, neighbour: str) -> None:
    getattr(app, neighbour).is_unavailable = True

    response = await app.order_items(12, (1, 1))

    assert (response.status_code, response.json()["code"]) == (503, "neighbour_unavailable")
    assert response.headers["retry-after"] == "1"
    assert await app.orders_of(12) == []


LINE = '{"product_id": 1, "quantity": 1}'


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 422, "cart_empty"),
        ("{", 400, "malformed_json"),
        ("null", 422, "cart_empty"),
        ("[]", 422, "invalid_field"),
        ("{}", 422, "cart_empty"),
        ('{"items": []}', 422, "invalid_field"),
        ('{"items": null}', 422, "cart_empty"),
        ('{"items": {"product_id": 1, "quantity": 1}}', 422, "invalid_field"),
        ('{"items": [' + ",".join([LINE] * 101) + "]}", 422, "invalid_field"),
        ('{"items": [' + LINE + '], "price": 1}', 422, "invalid_field"),
        ('{"items": [{"product_id": 1, "quantity": 1, "unit_price": 1}]}', 422, "invalid_field"),
        ('{"items": [{"product_id": "1", "quantity": 1}]}', 422, "invalid_field"),
        ('{"items": [{"product_id": 0, "quantity": 1}]}', 422, "invalid_field"),
        ('{"items": [{"product_id": 9223372036854775808, "quantity": 1}]}', 422, "invalid_field"),
        ('{"items": [{"product_id": 9223372036854775807, "quantity": 1}]}', 422, "unknown_product"),
        ('{"items": [{"product_id": 1, "quantity": 0}]}', 422, "invalid_field"),
        ('{"items": [{"product_id": 1, "quantity": -1}]}', 422, "invalid_field"),
        ('{"items": [{"product_id": 1, "quantity": 1000001}]}', 422, "invalid_field"),
        ('{"items": [{"product_id": 1, "quantity": 1' + "0" * 400 + "}]}", 422, "invalid_field"),
        ('{"items": [{"product_id": 1, "quantity": 1.5}]}', 422, "invalid_field"),
        ('{"items": [{"product_id": 1, "quantity": NaN}]}', 422, "invalid_field"),
        ('{"items": [{"product_id": 1, "quantity": true}]}', 422, "invalid_field"),
        ('{"items": [{"product_id": 1}]}', 422, "invalid_field"),
        ('{"items": [{"product_id": "\\ud800", "quantity": 1}]}', 422, "invalid_field"),
    ],
)
async def test_an_invalid_order_is_a_problem_with_a_stable_code(
    app: OrderApp, body: str, status: int, code: str
) -> None:
    headers = app.bearer(13) | {"Content-Type": "application/json"}
    response = await app.http.post("/api/v1/orders", content=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert await app.orders_of(13) == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_id_that_is_no_uuid_is_an_invalid_field(app: OrderApp, method: str) -> None:
    response = await app.http.request(method, "/api/v1/orders/1", headers=app.bearer(13))

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert response.json()["errors"][0]["field"] == "order_id"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ""), ("GET", ""), ("GET", f"/{UNKNOWN_ID}"), ("DELETE", f"/{UNKNOWN_ID}")]
)
async def test_orders_need_a_token(app: OrderApp, method: str, path: str) -> None:
    response = await app.http.request(method, f"/api/v1/orders{path}")

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


async def test_a_buyer_sees_their_orders_newest_first_in_pages(app: OrderApp) -> None:
    placed = [(await app.place_order(21, (1, n)))["id"] for n in (1, 2, 3)]
    await app.place_order(22, (1, 1))

    first = (await app.http.get("/api/v1/orders?limit=2", headers=app.bearer(21))).json()
    second = (await app.http.get("/api/v1/orders?limit=2&page=2", headers=app.bearer(21))).json()

    assert [found["id"] for found in first["data"] + second["data"]] == placed[::-1]
    assert {key: first[key] for key in ("page", "limit", "total")} == {"page": 1, "limit": 2, "total": 3}


async def test_another_buyers_order_is_unknown(app: OrderApp) -> None:
    placed = await app.place_order(23, (1, 1))

    for order_id in (placed["id"], str(uuid7())):
        for response in (await app.get(order_id, 24), await app.cancel(order_id, 24)):
            assert (response.status_code, response.json()["code"]) == (404, "unknown_order")
            assert response.json()["detail"] == f"you have no order {order_id}"
    assert (await app.get(placed["id"], 23)).json()["data"]["status"] == "pending"


async def test_a_seller_cannot_see_another_buyers_order(app: OrderApp) -> None:
    placed = await app.place_order(23, (1, 1))

    response = await app.get(placed["id"], 24, Role.SELLER)

    assert (response.status_code, response.json()["code"]) == (404, "unknown_order")


async def test_an_admin_sees_and_cancels_every_order(app: OrderApp) -> None:
    placed = await app.place_order(23, (1, 1))

    assert (await app.get(placed["id"], ADMIN, Role.ADMIN)).json()["data"] == placed
    assert (await app.cancel(placed["id"], ADMIN, Role.ADMIN)).status_code == 204
    assert (await app.get(placed["id"], 23)).json()["data"]["status"] == "cancelled"


async def test_cancelling_again_changes_nothing(app: OrderApp) -> None:
    placed = await app.place_order(25, (1, 1))

    responses = [await app.cancel(placed["id"], 25) for _ in range(2)]

    assert [response.status_code for response in responses] == [204, 204]
    assert responses[0].content == b""
    await app.wait_for_events(placed["id"], "order.placed.v1", "order.cancelled.v1")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], 204),
        (["processing"], 409),
        (["processing", "shipped"], 409),
        (["processing", "shipped", "delivered"], 409),
    ],
)
async def test_an_order_in_processing_or_later_cannot_be_cancelled(
    app: OrderApp, steps: list[str], expected: int
) -> None:
    placed = await app.place_confirmed_order(25, (1, 1))
    await app.change_status(placed["id"], *steps)

    response = await app.cancel(placed["id"], 25)

    assert response.status_code == expected
    if expected == 409:
        assert response.json()["code"] == "not_cancellable"


async def test_has_bought_is_true_from_the_payment_until_the_cancellation(app: OrderApp) -> None:
    async def has_bought(user: int, product: int) -> bool:
        request = HasBoughtRequest(user_id=user, product_id=product)
        response: HasBoughtResponse = await call(app.rpc.HasBought, request)
        return response.has_bought

    placed = await app.place_order(26, (8, 1), (9, 1))
    assert not await has_bought(26, 8)
    await app.pay(placed)

    assert await has_bought(26, 8)
    assert not await has_bought(26, 10)
    assert not await has_bought(27, 8)
    await app.cancel(placed["id"], 26)
    assert not await has_bought(26, 8)


async def test_business_metrics_are_counted(app: OrderApp) -> None:
    def counters() -> tuple[float, ...]:
        samples: list[tuple[str, dict[str, str]]] = [
            ("orders_placed_total", {}),
            ("orders_revenue_minor_units_total", {"currency": "EUR"}),
            ("orders_cancelled_total", {"reason": "buyer"}),
        ]
        return tuple(REGISTRY.get_sample_value(name, labels) or 0 for name, labels in samples)

    def counted() -> list[float]:
        return [now - then for now, then in zip(counters(), before, strict=True)]

    before = counters()
    placed = await app.place_order(28, (EURO_PRODUCT, 2))
    assert counted() == [1, 0, 0]  # revenue is what was paid, not what was ordered

    await app.pay(placed)
    await app.cancel(placed["id"], 28)
    assert counted() == [1, 200_000, 1]

    paid_manually = await app.place_order(28, (EURO_PRODUCT, 1))
    await app.put(paid_manually["id"], "manual-payment", reason="cash")
    assert counted() == [2, 300_000, 1]
