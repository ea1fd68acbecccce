"""Orders over HTTP and gRPC, on a real PostgreSQL."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from chassis.grpc.client import call
from chassis.http.authentication import Role
from chassis.types.ids import uuid7
from chassis_testing.ids import UNKNOWN_ID
from order_harness import ADMIN, EURO, PRECIOUS, UNKNOWN, Order
from prometheus_client import REGISTRY
from shopapi.order.v1.order_pb2 import HasBoughtRequest, HasBoughtResponse


async def test_an_order_takes_names_and_prices_from_the_catalogue(order: Order) -> None:
    answer = await order.place(11, (2, 3), (1, 1))

    assert answer.status_code == 201
    placed = answer.json()["data"]
    assert answer.headers["location"] == f"/api/v1/orders/{placed['id']}"
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
        "payment": None,
        "cancel_reason": None,
        "history": [{"status": "pending", "at": placed["created_at"], "by": "buyer"}],
        "created_at": placed["created_at"],
        "expires_at": placed["expires_at"],
    }
    assert (await order.get(placed["id"], 11)).json()["data"] == placed
    assert order.inventory.reserved[UUID(placed["id"])] == {1: 1, 2: 3}


def usd(amount: int) -> dict[str, object]:
    return {"amount": amount, "currency": "USD"}


async def test_lines_of_one_product_are_taken_together(order: Order) -> None:
    placed = await order.placed(11, (5, 1), (4, 1), (5, 2))

    assert [(item["product_id"], item["quantity"]) for item in placed["items"]] == [(4, 1), (5, 3)]


async def test_the_stored_total_is_the_sum_of_the_stored_items(order: Order) -> None:
    await order.placed(11, (5, 7), (4, 9))
    async with order.sql() as sql:
        wrong = await sql.fetch(
            "SELECT id FROM orders o WHERE total_amount <> "
            "(SELECT sum(quantity * unit_amount) FROM order_items WHERE order_id = o.id)"
        )

    assert wrong == []


async def test_what_is_not_for_sale_refuses_the_order_by_name(order: Order) -> None:
    answer = await order.place(12, (1, 1), (UNKNOWN, 1), (UNKNOWN + 1, 1))

    assert answer.status_code == 422
    assert answer.json()["code"] == "unknown_product"
    assert answer.json()["product_ids"] == [UNKNOWN, UNKNOWN + 1]
    assert await order.orders_of(12) == []


async def test_an_order_has_one_currency(order: Order) -> None:
    answer = await order.place(12, (1, 1), (EURO, 1))

    assert (answer.status_code, answer.json()["code"]) == (422, "mixed_currencies")
    assert answer.json()["currencies"] == ["EUR", "USD"]


async def test_a_total_beyond_all_money_is_refused(order: Order) -> None:
    answer = await order.place(12, (PRECIOUS, 1_000_000))

    assert (answer.status_code, answer.json()["code"]) == (422, "total_too_large")


async def test_too_little_stock_refuses_the_order_by_name(order: Order) -> None:
    order.inventory.left[3] = 2

    answer = await order.place(12, (1, 1), (3, 5))

    assert (answer.status_code, answer.json()["code"]) == (409, "out_of_stock")
    assert answer.json()["products"] == [{"product_id": 3, "wanted": 5, "available": 2}]
    assert await order.orders_of(12) == []


@pytest.mark.parametrize("neighbour", ["products", "inventory"])
async def test_a_neighbour_that_is_away_is_a_503_and_no_order(order: Order, neighbour: str) -> None:
    getattr(order, neighbour).is_away = True

    answer = await order.place(12, (1, 1))

    assert (answer.status_code, answer.json()["code"]) == (503, "neighbour_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert await order.orders_of(12) == []


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
async def test_a_bad_order_is_a_problem_with_a_stable_code(order: Order, body: str, status: int, code: str) -> None:
    headers = order.bearer(13) | {"Content-Type": "application/json"}
    answer = await order.http.post("/api/v1/orders", content=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert await order.orders_of(13) == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_id_that_is_no_uuid_is_a_bad_field(order: Order, method: str) -> None:
    answer = await order.http.request(method, "/api/v1/orders/1", headers=order.bearer(13))

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert answer.json()["errors"][0]["field"] == "order_id"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ""), ("GET", ""), ("GET", f"/{UNKNOWN_ID}"), ("DELETE", f"/{UNKNOWN_ID}")]
)
async def test_nobody_orders_without_a_token(order: Order, method: str, path: str) -> None:
    answer = await order.http.request(method, f"/api/v1/orders{path}")

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_buyer_sees_their_orders_newest_first_in_pages(order: Order) -> None:
    placed = [(await order.placed(21, (1, n)))["id"] for n in (1, 2, 3)]
    await order.placed(22, (1, 1))

    first = (await order.http.get("/api/v1/orders?limit=2", headers=order.bearer(21))).json()
    second = (await order.http.get("/api/v1/orders?limit=2&page=2", headers=order.bearer(21))).json()

    assert [found["id"] for found in first["data"] + second["data"]] == placed[::-1]
    assert {key: first[key] for key in ("page", "limit", "total")} == {"page": 1, "limit": 2, "total": 3}


async def test_another_buyers_order_is_as_unknown_as_none(order: Order) -> None:
    placed = await order.placed(23, (1, 1))

    for order_id in (placed["id"], str(uuid7())):
        for answer in (await order.get(order_id, 24), await order.cancel(order_id, 24)):
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_order")
            assert answer.json()["detail"] == f"you have no order {order_id}"
    assert (await order.get(placed["id"], 23)).json()["data"]["status"] == "pending"


async def test_a_seller_is_no_admin(order: Order) -> None:
    placed = await order.placed(23, (1, 1))

    assert (await order.get(placed["id"], 24, Role.SELLER)).status_code == 404


async def test_an_admin_sees_and_cancels_every_order(order: Order) -> None:
    placed = await order.placed(23, (1, 1))

    assert (await order.get(placed["id"], ADMIN, Role.ADMIN)).json()["data"] == placed
    assert (await order.cancel(placed["id"], ADMIN, Role.ADMIN)).status_code == 204
    assert (await order.get(placed["id"], 23)).json()["data"]["status"] == "cancelled"


async def test_cancelling_twice_is_as_cancelling_once(order: Order) -> None:
    placed = await order.placed(25, (1, 1))

    answers = [await order.cancel(placed["id"], 25) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert answers[0].content == b""
    await order.heard(placed["id"], "order.placed.v1", "order.cancelled.v1")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], 204),
        (["processing"], 409),
        (["processing", "shipped"], 409),
        (["processing", "shipped", "delivered"], 409),
    ],
)
async def test_only_what_is_not_on_its_way_can_be_cancelled(order: Order, steps: list[str], expected: int) -> None:
    placed = await order.confirmed(25, (1, 1))
    await order.moved(placed["id"], *steps)

    answer = await order.cancel(placed["id"], 25)

    assert answer.status_code == expected
    if expected == 409:
        assert answer.json()["code"] == "not_cancellable"


async def test_who_has_bought_a_product_is_known_from_the_payment_until_the_order_is_cancelled(order: Order) -> None:
    async def has_bought(user: int, product: int) -> bool:
        request = HasBoughtRequest(user_id=user, product_id=product)
        answer: HasBoughtResponse = await call(order.rpc.HasBought, request)
        return answer.has_bought

    placed = await order.placed(26, (8, 1), (9, 1))
    assert not await has_bought(26, 8)
    await order.pay(placed)

    assert await has_bought(26, 8)
    assert not await has_bought(26, 10)
    assert not await has_bought(27, 8)
    await order.cancel(placed["id"], 26)
    assert not await has_bought(26, 8)


async def test_the_business_is_measured(order: Order) -> None:
    def measured() -> tuple[float, ...]:
        wanted: list[tuple[str, dict[str, str]]] = [
            ("orders_placed_total", {}),
            ("orders_revenue_minor_units_total", {"currency": "EUR"}),
            ("orders_cancelled_total", {"reason": "buyer"}),
        ]
        return tuple(REGISTRY.get_sample_value(name, labels) or 0 for name, labels in wanted)

    before = measured()
    placed = await order.placed(28, (EURO, 2))
    await order.cancel(placed["id"], 28)

    assert [now - then for now, then in zip(measured(), before, strict=True)] == [1, 200_000, 1]
