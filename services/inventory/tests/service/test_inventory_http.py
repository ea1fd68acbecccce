"""The HTTP and gRPC API: permissions, validation and error codes."""

import json

import httpx
import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis.http.authentication import Role
from chassis_testing.ids import UNKNOWN_ID
from google.protobuf.timestamp_pb2 import Timestamp
from inventory_harness import SELLER, Inventory, new_product
from shopapi.inventory.v1.inventory_pb2 import ReleaseRequest, ReserveLine, ReserveRequest


async def test_a_product_without_stock_has_zero_units(inventory: Inventory) -> None:
    units = {"on_hand": 0, "reserved": 0, "committed": 0, "available": 0}
    assert await inventory.stock(999) == {"product_id": 999, **units, "max_per_order": None, "is_exact": True}


@pytest.mark.parametrize(
    ("user", "role", "sees"),
    [
        (None, None, 50),
        (SELLER + 1, Role.SELLER, 50),
        (8, Role.CUSTOMER, 50),
        (SELLER, Role.SELLER, 987),
        (1, Role.ADMIN, 987),
    ],
)
async def test_only_the_seller_and_admins_see_exact_counts_above_the_limit(
    inventory: Inventory, user: int | None, role: Role | None, sees: int
) -> None:
    many, few = new_product(), new_product()
    await inventory.set_stock(many, 987)
    await inventory.set_stock(few, 50)
    headers = {} if user is None or role is None else inventory.issuer.bearer(user, role)

    responses = [await inventory.http.get(f"/api/v1/inventory/{product}", headers=headers) for product in (many, few)]

    shown = [response.json()["data"] for response in responses]
    assert [(stock["on_hand"], stock["available"], stock["is_exact"]) for stock in shown] == [
        (sees, sees, sees == 987),
        (50, 50, True),
    ]


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
async def test_no_cache_stores_the_stock_that_a_caller_with_a_token_sees(inventory: Inventory, accept: str) -> None:
    product, headers = new_product(), {"Accept": accept}
    await inventory.set_stock(product, 987)
    path = f"/api/v1/inventory/{product}"

    public = await inventory.http.get(path, headers=headers)
    seller = await inventory.http.get(path, headers={**headers, **inventory.seller})
    customer = await inventory.http.get(path, headers={**headers, **inventory.issuer.bearer(8)})

    assert ("987" in public.text, "987" in seller.text, "987" in customer.text) == (False, True, False)
    assert {"cache-control", "etag"}.isdisjoint(public.headers)
    assert seller.headers["cache-control"] == customer.headers["cache-control"] == "private, no-store"
    assert ("etag" in seller.headers, "etag" in customer.headers) == (True, False)
    for response in (public, seller, customer):
        assert {"Authorization", "Accept"} == set(response.headers["vary"].split(", "))


async def test_an_availability_check_tells_the_public_no_exact_count_and_the_maximum(inventory: Inventory) -> None:
    many, limited = new_product(), new_product()
    await inventory.set_stock(many, 987)
    await inventory.set_stock(limited, 10, max_per_order=2)
    items = [{"product_id": many, "quantity": 988}, {"product_id": limited, "quantity": 3}]

    response = await inventory.http.post("/api/v1/inventory/check-availability", json={"items": items})

    assert response.json()["data"] == {
        "available": False,
        "shortages": [{"product_id": many, "requested": 988, "available": 50, "is_exact": False}],
        "over_maximum": [{"product_id": limited, "requested": 3, "maximum": 2}],
    }


async def put_stock(inventory: Inventory, product: int, quantity: int, if_match: str) -> httpx.Response:
    headers = {**inventory.seller, "If-Match": if_match}
    return await inventory.http.put(f"/api/v1/inventory/{product}", json={"quantity": quantity}, headers=headers)


async def test_a_count_is_refused_if_the_stock_changed_after_it_was_read(inventory: Inventory) -> None:
    product = new_product()
    first = (await inventory.http.get(f"/api/v1/inventory/{product}", headers=inventory.seller)).headers["ETag"]

    created = await put_stock(inventory, product, 5, first)
    stale = await put_stock(inventory, product, 6, first)

    assert (created.status_code, stale.status_code, stale.json()["code"]) == (200, 412, "stock_changed")
    assert (await inventory.stock(product))["on_hand"] == 5
    read = await inventory.http.get(f"/api/v1/inventory/{product}", headers=inventory.seller)
    assert created.headers["ETag"] == read.headers["ETag"] != first
    same = await put_stock(inventory, product, 5, read.headers["ETag"])
    assert (same.status_code, same.headers["ETag"]) == (200, read.headers["ETag"])  # nothing changed


@pytest.mark.parametrize("if_match", ["*", '"0", "{}"', 'W/"{}"'])
async def test_every_form_of_if_match_is_understood(inventory: Inventory, if_match: str) -> None:
    product = new_product()
    await inventory.set_stock(product, 5)
    etag = (await inventory.http.get(f"/api/v1/inventory/{product}", headers=inventory.seller)).headers["ETag"]

    response = await put_stock(inventory, product, 6, if_match.format(etag.strip('"')))

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("if_match", "status", "code"),
    [
        ('"other"', 412, "stock_changed"),
        ('"1234567890123456789"', 412, "stock_changed"),
        ("1", 422, "invalid_field"),
        ('"1', 422, "invalid_field"),
        ('"' + "1" * 300 + '"', 422, "invalid_field"),
    ],
)
async def test_an_etag_that_is_not_the_stock_s_is_refused(
    inventory: Inventory, if_match: str, status: int, code: str
) -> None:
    response = await put_stock(inventory, new_product(), 5, if_match)

    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_an_availability_check_names_each_shortage_and_reserves_nothing(inventory: Inventory) -> None:
    await inventory.set_stock(990, 2)
    items = [{"product_id": 990, "quantity": 2}, {"product_id": 990, "quantity": 1}]

    response = await inventory.http.post("/api/v1/inventory/check-availability", json={"items": items})

    assert response.json()["data"] == {
        "available": False,
        "shortages": [{"product_id": 990, "requested": 3, "available": 2, "is_exact": True}],
        "over_maximum": [],
    }
    assert (await inventory.stock(990))["reserved"] == 0


@pytest.mark.parametrize(
    ("user", "role", "product", "status", "code"),
    [
        (8, Role.SELLER, 1, 403, "not_the_seller"),
        (8, Role.CUSTOMER, 1, 403, "forbidden"),
        (SELLER, Role.CUSTOMER, 1, 403, "forbidden"),
        (SELLER, Role.SELLER, 1000, 404, "unknown_product"),
        (1, Role.ADMIN, 980, 200, None),
    ],
)
async def test_only_the_seller_or_an_admin_sets_stock(
    inventory: Inventory, user: int, role: Role, product: int, status: int, code: str | None
) -> None:
    headers = inventory.issuer.bearer(user, role)

    response = await inventory.http.put(f"/api/v1/inventory/{product}", json={"quantity": 1}, headers=headers)

    assert (response.status_code, response.json().get("code")) == (status, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 400, "malformed_json"),
        ("[]", 422, "invalid_field"),
        ("{}", 422, "invalid_field"),
        ('{"quantity": "5"}', 422, "invalid_field"),
        ('{"quantity": 1.5}', 422, "invalid_field"),
        ('{"quantity": true}', 422, "invalid_field"),
        ('{"quantity": null}', 422, "invalid_field"),
        ('{"quantity": -1}', 422, "invalid_field"),
        ('{"quantity": 99999999999999999999999999}', 422, "invalid_field"),
        ('{"quantity": 1, "on_hand": 1}', 422, "invalid_field"),
        ('{"quantity": 1' + " " * 1024 * 1024 + "}", 413, "body_too_large"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_bad_request_body_gets_a_stable_code(inventory: Inventory, body: str, status: int, code: str) -> None:
    headers = {**inventory.seller, "Content-Type": "application/json"}

    response = await inventory.http.put("/api/v1/inventory/1", content=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"delta": 1},
        {"reason": "found"},
        {"delta": 0, "reason": "found"},
        {"delta": 1.5, "reason": "found"},
        {"delta": True, "reason": "found"},
        {"delta": "1", "reason": "found"},
        {"delta": 10**30, "reason": "found"},
        {"delta": -(10**9) - 1, "reason": "found"},
        {"delta": 1, "reason": ""},
        {"delta": 1, "reason": " \t"},
        {"delta": 1, "reason": None},
        {"delta": 1, "reason": "x" * 201},
        {"delta": 1, "reason": "a\x00b"},
        {"delta": 1, "reason": "\ud800"},
        {"delta": 1, "reason": "found", "on_hand": 5},
    ],
    ids=ascii,
)
async def test_a_bad_adjustment_is_refused(inventory: Inventory, body: dict[str, object]) -> None:
    headers = {**inventory.seller, "Content-Type": "application/json"}

    response = await inventory.http.post("/api/v1/inventory/1/adjustments", content=json.dumps(body), headers=headers)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize("threshold", [-1, "5", 1.5, True, 10**30])
async def test_a_bad_threshold_is_refused(inventory: Inventory, threshold: object) -> None:
    body = {"quantity": 1, "low_stock_threshold": threshold}

    response = await inventory.http.put("/api/v1/inventory/1", json=body, headers=inventory.seller)

    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "low_stock_threshold")


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "\u00e4".encode().decode("latin-1")], ids=ascii)
async def test_a_bad_key_is_refused(inventory: Inventory, key: str) -> None:
    body, headers = {"delta": 1, "reason": "found"}, {**inventory.seller, "Idempotency-Key": key.encode("latin-1")}

    response = await inventory.http.post("/api/v1/inventory/1/adjustments", json=body, headers=headers)  # type: ignore[arg-type]

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize(
    ("user", "role", "product", "status", "code"),
    [
        (8, Role.SELLER, 1, 403, "not_the_seller"),
        (SELLER, Role.CUSTOMER, 1, 403, "forbidden"),
        (SELLER, Role.SELLER, 1000, 404, "unknown_product"),
        (SELLER, Role.SELLER, 981, 200, None),
        (1, Role.ADMIN, 981, 200, None),
        (1, Role.ADMIN, 1000, 200, None),  # a product that left the catalogue
    ],
)
async def test_only_the_seller_or_an_admin_reads_the_history(
    inventory: Inventory, user: int, role: Role, product: int, status: int, code: str | None
) -> None:
    headers = inventory.issuer.bearer(user, role)

    response = await inventory.http.get(f"/api/v1/inventory/{product}/history", headers=headers)

    assert (response.status_code, response.json().get("code")) == (status, code)


@pytest.mark.parametrize(
    ("user", "role", "product", "status", "code"),
    [
        (8, Role.SELLER, 1, 403, "not_the_seller"),
        (SELLER, Role.CUSTOMER, 1, 403, "forbidden"),
        (SELLER, Role.SELLER, 1000, 404, "unknown_product"),
        (1, Role.ADMIN, 1000, 404, "unknown_product"),
        (1, Role.ADMIN, 982, 201, None),
    ],
)
async def test_only_the_seller_or_an_admin_adjusts_stock(
    inventory: Inventory, user: int, role: Role, product: int, status: int, code: str | None
) -> None:
    body, headers = {"delta": 1, "reason": "found"}, inventory.issuer.bearer(user, role)

    response = await inventory.http.post(f"/api/v1/inventory/{product}/adjustments", json=body, headers=headers)

    assert (response.status_code, response.json().get("code")) == (status, code)


async def test_reading_the_history_and_adjusting_need_a_token(inventory: Inventory) -> None:
    responses = [
        await inventory.http.get("/api/v1/inventory/1/history"),
        await inventory.http.post("/api/v1/inventory/1/adjustments", json={"delta": 1, "reason": "found"}),
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(401, "unauthenticated")] * 2


AN_ORDER, LATER = UNKNOWN_ID, Timestamp(seconds=4_000_000_000)


@pytest.mark.parametrize(
    "request_",
    [
        ReserveRequest(order_id="", lines=[ReserveLine(product_id=1, quantity=1)], until=LATER),
        ReserveRequest(order_id="x", lines=[ReserveLine(product_id=1, quantity=1)], until=LATER),
        ReserveRequest(order_id=AN_ORDER, until=LATER),
        ReserveRequest(order_id=AN_ORDER, lines=[ReserveLine(product_id=1)], until=LATER),
        ReserveRequest(order_id=AN_ORDER, lines=[ReserveLine(product_id=1, quantity=-1)], until=LATER),
        ReserveRequest(
            order_id=AN_ORDER, lines=[ReserveLine(product_id=1, quantity=1)], until=Timestamp(seconds=2**60)
        ),
        ReleaseRequest(order_id="x"),
    ],
    ids=lambda request: " ".join(str(request).split())[:60],
)
async def test_a_bad_grpc_request_is_refused(inventory: Inventory, request_: ReserveRequest | ReleaseRequest) -> None:
    method = inventory.rpc.Reserve if isinstance(request_, ReserveRequest) else inventory.rpc.Release

    with pytest.raises(NeighbourRefused) as refusal:
        await call(method, request_)

    assert refusal.value.code == "invalid_field"


@pytest.mark.parametrize("product", ["0", "-1", "x", str(2**63), "1.5"])
async def test_an_identifier_that_cannot_exist_is_refused(inventory: Inventory, product: str) -> None:
    response = await inventory.http.get(f"/api/v1/inventory/{product}")

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert response.json()["errors"][0]["field"] == "product_id"


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
async def test_an_invalid_token_is_refused(inventory: Inventory, token: str) -> None:
    response = await inventory.http.put(
        "/api/v1/inventory/1", json={"quantity": 1}, headers={"Authorization": f"Bearer {token}"}
    )

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


async def test_an_expired_token_is_refused(inventory: Inventory) -> None:
    headers = inventory.issuer.bearer(SELLER, Role.SELLER, expires_in=-1)

    response = await inventory.http.put("/api/v1/inventory/1", json={"quantity": 1}, headers=headers)

    assert (response.status_code, response.json()["code"]) == (401, "token_expired")


async def test_probes_and_documentation_answer(inventory: Inventory) -> None:
    for path in ("/health", "/ready", "/swagger/", "/openapi.json"):
        assert (await inventory.http.get(path)).status_code == 200, path
