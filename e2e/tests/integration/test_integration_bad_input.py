"""Every bad request is answered with a problem that has a stable code, never with a 5xx."""

import base64
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from chassis.types.ids import UserId
from chassis_testing.tokens import TokenIssuer
from devtools.shop_client import Person, Shop
from devtools.stack import Stack
from user_service.domain.accounts import Account, Email, Role
from user_service.service.signing import Signer

SURROGATE = '"\\ud800"'
NUL = '"a\\u0000b"'
HUGE = "9" * 400


@dataclass(frozen=True)
class World:
    """A shop with one product and a user of each role."""

    shop: Shop
    admin: Person
    seller: Person
    buyer: Person
    category: int
    product: int

    def headers(self, who: str) -> dict[str, str]:
        people = {"admin": self.admin, "seller": self.seller, "buyer": self.buyer}
        return people[who].headers if who in people else {}


@pytest.fixture(scope="module")
async def world(shop: Shop, admin: Person) -> World:
    seller, product = await shop.stocked_product(admin, 10)
    category = (await shop.call("GET", f"/products/{product}"))["product"]["category_id"]
    buyer = await shop.register()
    await buyer.buy((product, 1))
    return World(shop, admin, seller, buyer, category, product)


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "code", "detail"} <= set(answer.json())


@dataclass(frozen=True)
class Case:
    """`text` is the body as it is sent; `{product}` and `{category}` stand for ids of the world."""

    who: str
    method: str
    path: str
    text: str
    status: int = 422
    code: str = "invalid_field"

    def __str__(self) -> str:
        return f"{self.who} {self.method} {self.path} {self.text[:60]}"


def orders() -> Iterator[Case]:
    def ordering(text: str, status: int = 422, code: str = "invalid_field") -> Case:
        return Case("buyer", "POST", "/orders", text, status, code)

    yield ordering("{", 400, "malformed_json")
    yield ordering('{"items": [}', 400, "malformed_json")
    for text in ("1", '"items"', "[]", '{"items": {}}', '{"items": []}'):
        yield ordering(text)
    for text in ("", "null", "{}", '{"items": null}'):
        yield ordering(text, 422, "cart_empty")
    for quantity in ("0", "-1", "1000001", HUGE, "-" + HUGE, "1.5", "1e400", "NaN", '"1"', "true", "null", "[1]"):
        yield ordering(f'{{"items": [{{"product_id": {{product}}, "quantity": {quantity}}}]}}')
    for product in ("0", "-1", "9223372036854775808", HUGE, "1.5", '"1"', "null", SURROGATE):
        yield ordering(f'{{"items": [{{"product_id": {product}, "quantity": 1}}]}}')
    for unknown in ('"price": 1', f'{NUL}: 1, "x": {NUL}', f"{SURROGATE}: {SURROGATE}"):
        yield ordering(f'{{"items": [{{"product_id": {{product}}, "quantity": 1}}], {unknown}}}')
    line = '{"product_id": {product}, "quantity": 1}'
    yield ordering(f'{{"items": [{",".join([line] * 101)}]}}')
    yield ordering('{"items": [{"product_id": 9223372036854775807, "quantity": 1}]}', 422, "unknown_product")
    yield ordering('{"items": [{"product_id": {product}, "quantity": 11}]}', 409, "out_of_stock")
    yield ordering('{"items": [{"product_id": {product}, "quantity": 1000000}]}', 409, "quantity_limit")


def accounts() -> Iterator[Case]:
    for email in (
        '"anonymous"',
        '""',
        "1",
        "null",
        NUL,
        '"a\\u0000@example.com"',
        '"\\ud800@example.com"',
        f'"{"a" * 300}@example.com"',
    ):
        yield Case("anonymous", "POST", "/auth/register", f'{{"email": {email}, "password": "long enough to be one"}}')
        yield Case("anonymous", "POST", "/auth/login", f'{{"email": {email}, "password": "long enough to be one"}}')
    for password in ('"short"', '""', "1", "null", SURROGATE, f'"{"p" * 5000}"'):
        body = f'{{"email": "refused@example.com", "password": {password}}}'
        yield Case("anonymous", "POST", "/auth/register", body)
    for role in ('"admin"', '"root"', "1", SURROGATE):
        body = f'{{"email": "refused@example.com", "password": "long enough to be one", "role": {role}}}'
        yield Case("anonymous", "POST", "/auth/register", body)
    yield Case(
        "anonymous",
        "POST",
        "/auth/login",
        '{"email": "unknown@example.com", "password": "wrong password"}',
        401,
        "wrong_credentials",
    )
    yield Case("anonymous", "POST", "/auth/refresh", '{"refresh_token": "made up"}', 401, "invalid_refresh_token")
    yield Case("anonymous", "POST", "/auth/refresh", '{"refresh_token": "a\\u0000b"}', 401, "invalid_refresh_token")
    for name in (NUL, SURROGATE, "1", '""', f'"{"n" * 5000}"'):
        yield Case("buyer", "PUT", "/users/me", f'{{"display_name": {name}}}')


def catalogue() -> Iterator[Case]:
    for name in (NUL, SURROGATE, '""', '"  "', "1", "null", f'"{"n" * 5000}"'):
        yield Case("admin", "POST", "/categories", f'{{"name": {name}}}')
        price = '{"amount": 1, "currency": "USD"}'
        yield Case("seller", "POST", "/products", f'{{"name": {name}, "category_id": {{category}}, "price": {price}}}')
    for price in (
        "1",
        "null",
        "{}",
        '{"amount": 0, "currency": "USD"}',
        '{"amount": -1, "currency": "USD"}',
        f'{{"amount": {HUGE}, "currency": "USD"}}',
        '{"amount": 9.99, "currency": "USD"}',
        '{"amount": "1", "currency": "USD"}',
        '{"amount": 1, "currency": "usd"}',
        '{"amount": 1, "currency": "USD\\n"}',
        f'{{"amount": 1, "currency": {SURROGATE}}}',
    ):
        yield Case("seller", "POST", "/products", f'{{"name": "Cup", "category_id": {{category}}, "price": {price}}}')
    body = '{"name": "Cup", "category_id": 9223372036854775807, "price": {"amount": 1, "currency": "USD"}}'
    yield Case("seller", "POST", "/products", body, 422, "unknown_category")
    yield Case("buyer", "POST", "/products", body, 403, "forbidden")
    yield Case("seller", "POST", "/categories", '{"name": "Mine"}', 403, "forbidden")
    for quantity in ("-1", HUGE, "1.5", '"1"', "null"):
        yield Case("seller", "PUT", "/inventory/{product}", f'{{"quantity": {quantity}}}')
    yield Case("seller", "PUT", "/inventory/9223372036854775807", '{"quantity": 1}', 404, "unknown_product")
    for rating in ("0", "6", "-1", "4.5", '"5"', "null", HUGE):
        yield Case("buyer", "POST", "/products/{product}/reviews", f'{{"rating": {rating}}}')
    for text in (NUL, SURROGATE, "1", f'"{"t" * 50_000}"'):
        yield Case("buyer", "POST", "/products/{product}/reviews", f'{{"rating": 5, "text": {text}}}')


@pytest.mark.parametrize("case", [*orders(), *accounts(), *catalogue()], ids=str)
async def test_a_bad_body_is_refused_with_a_stable_code(world: World, case: Case) -> None:
    def filled(template: str) -> str:
        return template.replace("{product}", str(world.product)).replace("{category}", str(world.category))

    headers = {**world.headers(case.who), "Content-Type": "application/json"}
    answer = await world.shop.http.request(case.method, filled(case.path), content=filled(case.text), headers=headers)

    assert_problem(answer, case.status, case.code)


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"\xff\xfe\x00", "application/json", 400, "malformed_json"),
        (b'{"items": "\xff"}', "application/json", 400, "malformed_json"),
        (b"[" * 100_000, "application/json", 400, "malformed_json"),
        (
            b'{"items": [{"product_id": 1, "quantity": ' + b"9" * 5000 + b"}]}",
            "application/json",
            400,
            "malformed_json",
        ),
        (b"items=1", "application/x-www-form-urlencoded", 422, "invalid_field"),
        (b'{"items": []}', "text/plain", 422, "invalid_field"),
        (b'{"items": []}', "application/json; charset=nonsense", 422, "invalid_field"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else str(value),
)
async def test_a_body_that_is_not_json_is_refused(
    world: World, content: bytes, content_type: str, status: int, code: str
) -> None:
    headers = {**world.buyer.headers, "Content-Type": content_type}
    answer = await world.shop.http.post("/orders", content=content, headers=headers)

    assert_problem(answer, status, code)


@pytest.mark.parametrize("who", ["buyer", "anonymous"])
async def test_an_oversize_body_is_refused(world: World, who: str) -> None:
    path = "/orders" if who == "buyer" else "/auth/login"
    body = b'{"items": "' + b"x" * (2 * 1024 * 1024) + b'"}'

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    headers = {**world.headers(who), "Content-Type": "application/json"}
    for content in (body, in_pieces()):
        answer = await world.shop.http.post(path, content=content, headers=headers)
        assert_problem(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/products?page=0", 422, "invalid_field"),
        ("/products?page=-1", 422, "invalid_field"),
        (f"/products?page={HUGE}", 422, "invalid_field"),
        ("/products?limit=0", 422, "invalid_field"),
        ("/products?limit=101", 422, "invalid_field"),
        ("/products?limit=ten", 422, "invalid_field"),
        ("/products?q=%00", 422, "invalid_field"),
        ("/products?min_price=-1", 422, "invalid_field"),
        ("/products?sort=sideways", 422, "invalid_field"),
        ("/products?category=0", 422, "invalid_field"),
        ("/products/0", 422, "invalid_field"),
        ("/products/one", 422, "invalid_field"),
        (f"/products/{HUGE}", 422, "invalid_field"),
        ("/products/9223372036854775807", 404, "unknown_product"),
        ("/products/9223372036854775807/reviews", 404, "unknown_product"),
        ("/inventory/x%00", 422, "invalid_field"),
        ("/orders?page=0", 422, "invalid_field"),
        ("/orders/1", 422, "invalid_field"),
        ("/orders/%00", 422, "invalid_field"),
        ("/orders/00000000-0000-7000-8000-000000000000", 404, "unknown_order"),
        ("/nowhere", 404, "no_such_route"),
        ("/orders/1/2/3", 404, "no_such_route"),
    ],
)
async def test_a_bad_address_is_refused(world: World, path: str, status: int, code: str) -> None:
    assert_problem(await world.shop.http.get(path, headers=world.buyer.headers), status, code)


async def test_raw_bytes_in_a_query_cause_no_server_error(world: World) -> None:
    for query in ("q=%ff%fe", "q=%ed%a0%80", "q=%", "q=%zz", "&&&=", "q[]=1"):
        answer = await world.shop.http.get(f"/products?{query}")
        assert answer.status_code == 200, (query, answer.text)
    assert_problem(await world.shop.http.get(f"/products?q={'x' * 5000}"), 422, "invalid_field")


async def test_a_wrong_method_is_refused(world: World) -> None:
    answer = await world.shop.http.patch("/orders", headers=world.buyer.headers)

    assert_problem(answer, 405, "method_not_allowed")


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "ü"])
async def test_a_bad_idempotency_key_is_refused(world: World, key: str) -> None:
    headers = httpx.Headers([*world.buyer.headers.items(), ("Idempotency-Key", key)], encoding="latin-1")
    items = [{"product_id": world.product, "quantity": 1}]

    assert_problem(await world.shop.http.post("/orders", json={"items": items}, headers=headers), 422, "invalid_field")


async def test_another_body_under_the_same_key_is_refused(world: World) -> None:
    _seller, product = await world.shop.stocked_product(world.admin, 10)
    await world.buyer.order((product, 1), key="mine")
    headers = {**world.buyer.headers, "Idempotency-Key": "mine"}
    items = [{"product_id": product, "quantity": 2}]

    answer = await world.shop.http.post("/orders", json={"items": items}, headers=headers)

    assert_problem(answer, 422, "idempotency_key_reused")


async def test_objects_of_other_users_are_not_accessible(world: World) -> None:
    (order,) = (await world.shop.http.get("/orders?limit=1", headers=world.buyer.headers)).json()["data"]
    stranger, rival = await world.shop.register(), await world.shop.register("seller")
    review = await world.buyer.call("POST", f"/products/{world.product}/reviews", {"rating": 5})
    other = {"name": "Mine now", "category_id": world.category, "price": {"amount": 1, "currency": "USD"}}

    async def attempt(who: Person, method: str, path: str, body: Mapping[str, object] | None = None) -> httpx.Response:
        return await world.shop.http.request(method, path, json=body, headers=who.headers)

    assert_problem(await attempt(stranger, "GET", f"/orders/{order['id']}"), 404, "unknown_order")
    assert_problem(await attempt(stranger, "DELETE", f"/orders/{order['id']}"), 404, "unknown_order")
    assert_problem(await attempt(rival, "PUT", f"/products/{world.product}", other), 403, "not_the_seller")
    assert_problem(await attempt(rival, "DELETE", f"/products/{world.product}"), 403, "not_the_seller")
    assert_problem(await attempt(rival, "PUT", f"/inventory/{world.product}", {"quantity": 0}), 403, "not_the_seller")
    assert_problem(await attempt(stranger, "PUT", f"/reviews/{review['id']}", {"rating": 1}), 403, "not_the_author")
    assert_problem(await attempt(stranger, "DELETE", f"/reviews/{review['id']}"), 403, "not_the_author")
    assert_problem(await attempt(stranger, "GET", "/users"), 403, "forbidden")
    answer = await attempt(stranger, "GET", f"/users/{world.buyer.id}")
    assert_problem(answer, 404, "unknown_user")


def unsigned(person: Person) -> str:
    """Returns the user's token with `alg: none` and no signature."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    return f"{header}.{person.token.split('.')[1]}."


def promoted(person: Person) -> str:
    """Returns the user's token with another role under the old signature."""
    header, payload, signature = person.token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    changed = base64.urlsafe_b64encode(json.dumps({**claims, "role": "admin"}).encode()).rstrip(b"=").decode()
    return f"{header}.{changed}.{signature}"


def forged(person: Person) -> str:
    """Returns a well-formed token that is signed with another key under the shop's key id."""
    header = json.loads(base64.urlsafe_b64decode(person.token.split(".")[0] + "=="))
    return TokenIssuer(kid=header["kid"]).token(person.id)


@pytest.mark.parametrize("service", ["gateway", "order", "user", "review"])
async def test_a_forged_token_is_refused_everywhere(stack: Stack, world: World, service: str) -> None:
    """Neither the gateway nor a service behind it accepts the token: no service trusts what the gateway forwards."""
    method, path = {"review": ("DELETE", "/reviews/1"), "user": ("GET", "/users/me")}.get(service, ("GET", "/orders"))
    buyer = world.buyer
    tokens = [unsigned(buyer), promoted(buyer), forged(buyer), buyer.token[:-4], "x", "a.b.c", "é", "x" * 5000]
    schemes = [f"Bearer {token}" for token in tokens] + [f"Basic {buyer.token}", buyer.token, ""]
    async with httpx.AsyncClient(base_url=f"{stack.url_of(service)}/api/v1") as client:
        for scheme in schemes:
            headers = httpx.Headers({"Authorization": scheme, "X-User-Id": "1", "X-Role": "admin"}, encoding="latin-1")
            assert_problem(await client.request(method, path, headers=headers), 401, "unauthenticated")
        answer = await client.request(method, path, headers={"X-User-Id": "1", "X-Role": "admin"})
        assert_problem(answer, 401, "unauthenticated")


async def test_an_expired_token_has_its_own_code(stack: Stack, world: World) -> None:
    signer = Signer(stack.plan.jwt_secret, timedelta(seconds=60), uuid.uuid4)
    made = datetime.now(UTC)
    account = Account(UserId(world.buyer.id), Email(world.buyer.email), Role.CUSTOMER, "Buyer", made)
    expired = signer.access_token(account, uuid.uuid4(), made - timedelta(seconds=120))
    fresh = signer.access_token(account, uuid.uuid4(), made)

    answer = await world.shop.http.get("/orders", headers={"Authorization": f"Bearer {expired}"})

    assert_problem(answer, 401, "token_expired")
    assert (await world.shop.http.get("/orders", headers={"Authorization": f"Bearer {fresh}"})).status_code == 200
