"""The authorization matrix: every method of every path, requested by every kind of caller.

Each cell is a test: a route and a caller. A caller without one of the route's roles is refused by the gateway (401
without a token, 403 with the wrong role); a caller who does not own the object is refused by the service (403 or 404);
every other caller passes authorization, whatever else is wrong with the request.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from devtools.shop_client import Json, Person, Shop
from gateway_service.domain.routes import AccessRule, Ownership, Role, access_matrix

_CALLERS = ("anonymous", "customer", "seller", "admin", "owner")
_SELLERS_OWN = ("{product_id}",)
"""Paths of objects that belong to a seller; every other owned object belongs to a customer."""
_EVERYTHING = "{payment_id}{review_id}{address_id}{session_id}{payment_method_id}"
_PUBLIC_OBJECTS = {"{product_id}": "not_the_seller", "{review_id}": "not_the_author"}
"""The codes with which changes of public objects are refused, by the path's parameter."""
_NOT_EVEN_ADMINS = ("{session_id}", "{address_id}", "{payment_method_id}")
"""Objects that an admin must not access either."""


@dataclass
class World:
    """A shop with one object of every kind that can be owned."""

    shop: Shop
    people: dict[str, Person]
    """The callers; an `owner` owns the objects of `ids`, the others own none of them."""
    ids: dict[str, object]
    bodies: dict[tuple[str, str], Json] = field(default_factory=dict)

    async def ask(self, cell: AccessRule, caller: str) -> httpx.Response:
        """Sends a valid request for the route through the gateway and returns the answer."""
        headers = {} if caller == "anonymous" else self.people[caller].headers
        path = cell.path.format(**self.ids)
        url = f"{self.shop.url}{path}"
        return await self.shop.http.request(
            cell.method, url, json=self.bodies.get((cell.method, cell.path)), headers=headers
        )


@pytest.fixture(scope="module")
async def other_users(shop: Shop, admin: Person) -> dict[str, Person]:
    """Callers who own none of the objects, shared by all worlds but those in which an account itself is changed."""
    return await register_other_users(shop, admin)


async def register_other_users(shop: Shop, admin: Person) -> dict[str, Person]:
    customer, seller = await shop.register(), await shop.register("seller")
    return {"customer": customer, "seller": seller, "admin": await shop.another_admin(admin)}


@pytest.fixture(scope="module")
async def shared(shop: Shop, admin: Person, other_users: dict[str, Person]) -> dict[str, World]:
    """Worlds by owner, for requests that do not change them."""
    return {kind: await new_world(shop, admin, other_users, f"{kind}{_EVERYTHING}") for kind in (*_SELLERS_OWN, "")}


async def new_world(shop: Shop, admin: Person, other_users: dict[str, Person], path: str) -> World:
    """Creates as much of a world as the route's path needs."""
    seller, product = await shop.stocked_product(admin, 100)
    customer = await shop.register()
    owner = seller if any(part in path for part in _SELLERS_OWN) else customer
    category = (await shop.api.product.get_details(product)).product.category_id
    order = await customer.order((product, 1))
    ids: dict[str, object] = {
        "product_id": product,
        "category_id": category,
        "order_id": order.id,
        "user_id": customer.id,
        "notification_id": uuid.uuid4(),
        "review_id": 0,
        "payment_id": uuid.uuid4(),
        "address_id": uuid.uuid4(),
        "session_id": uuid.uuid4(),
        "payment_method_id": uuid.uuid4(),
    }
    if "{payment_id}" in path or "/payments/order/" in path or "review" in path:
        ids["payment_id"] = (await customer.pay(order.id)).id
    if "review" in path:
        await customer.order_becomes(order.id, "confirmed")
        review = {"rating": 4, "title": "Good", "text": "A cup"}
        ids["review_id"] = (await customer.call("POST", f"/products/{product}/reviews", review))["id"]
    if "{address_id}" in path:
        ids["address_id"] = (await customer.call("POST", "/addresses", _ADDRESS))["id"]
    if "{session_id}" in path:
        ids["session_id"] = (await customer.call("GET", "/users/me/sessions"))[0]["id"]
    if "{payment_method_id}" in path:
        saved = await customer.call("POST", "/payment-methods", {"payment_method": "pm_card_visa"})
        ids["payment_method_id"] = saved["id"]
    return World(shop, {**other_users, "owner": owner}, ids, _bodies(product, category, order.id))


_ADDRESS = {
    "recipient": "Ada Lovelace",
    "line1": "12 St James's Square",
    "city": "London",
    "postal_code": "SW1Y 4JH",
    "country": "GB",
}


def _bodies(product: int, category: int, order: uuid.UUID) -> dict[tuple[str, str], Json]:
    """A valid body for every route that takes one."""
    goods = {"name": "Cup", "description": "", "price": {"amount": 1290, "currency": "USD"}, "category_id": category}
    return {
        (method, f"/api/v1{path}"): body
        for method, path, body in (
            ("POST", "/auth/register", {"email": f"{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex}),
            ("PUT", "/users/me", {"display_name": "Ada"}),
            ("PUT", "/users/{user_id}", {"display_name": "Ada"}),
            ("POST", "/products", goods),
            ("PUT", "/products/{product_id}", goods),
            ("POST", "/products/{product_id}/reviews", {"rating": 5}),
            ("POST", "/categories", {"name": f"Tea {uuid.uuid4().hex[:8]}"}),
            ("PUT", "/categories/{category_id}", {"name": f"Tea {uuid.uuid4().hex[:8]}"}),
            ("PUT", "/reviews/{review_id}", {"rating": 3}),
            ("PUT", "/reviews/{review_id}/moderation", {"status": "rejected"}),
            ("POST", "/cart", {"product_id": product, "quantity": 1}),
            ("PUT", "/cart/{product_id}", {"quantity": 2}),
            ("POST", "/orders", {"items": [{"product_id": product, "quantity": 1}]}),
            ("PUT", "/orders/{order_id}/status", {"status": "cancelled"}),
            ("PUT", "/orders/{order_id}/shipment", {"tracking_number": "JD01"}),
            ("PUT", "/orders/{order_id}/manual-payment", {"reason": "cash"}),
            ("POST", "/addresses", _ADDRESS),
            ("PUT", "/addresses/{address_id}", _ADDRESS),
            ("POST", "/inventory/check-availability", {"items": [{"product_id": product, "quantity": 1}]}),
            ("PUT", "/inventory/{product_id}", {"quantity": 50}),
            ("POST", "/inventory/{product_id}/adjustments", {"delta": 1, "reason": "counted"}),
            ("POST", "/payments", {"order_id": str(order), "payment_method": "pm_card_visa", "confirm": True}),
            ("POST", "/payments/{payment_id}/confirm", {"payment_method": "pm_card_visa"}),
            ("POST", "/payments/{payment_id}/refund", {"amount": 1}),
            ("POST", "/payment-methods", {"payment_method": "pm_card_visa"}),
            ("PUT", "/notifications/preferences", {}),
        )
    }


def cells() -> Iterator[tuple[AccessRule, str]]:
    """Yields every route with every caller, and with an owner where objects are owned."""
    for cell in access_matrix():
        for caller in _CALLERS:
            if caller != "owner" or cell.ownership is Ownership.OWNER:
                yield cell, caller


def _named(cell: AccessRule, caller: str) -> str:
    return f"{cell.method} {cell.path} by {caller}"


@pytest.mark.parametrize(("cell", "caller"), [pytest.param(c, who, id=_named(c, who)) for c, who in cells()])
async def test_every_caller_may_do_exactly_what_the_route_table_says(
    shop: Shop, admin: Person, other_users: dict[str, Person], shared: dict[str, World], cell: AccessRule, caller: str
) -> None:
    changes_account = cell.path.startswith("/api/v1/users/") and cell.method != "GET" and caller != "anonymous"
    changes = cell.ownership is Ownership.OWNER and cell.method != "GET" and caller in ("admin", "owner")
    kind = next((part for part in _SELLERS_OWN if part in cell.path), "")
    people = await register_other_users(shop, admin) if changes_account else other_users
    world = await new_world(shop, admin, people, cell.path) if changes or changes_account else shared[kind]

    answer = await world.ask(cell, caller)

    assert answer.status_code < 500, answer.text
    if caller == "anonymous" and Role.ANONYMOUS not in cell.roles:
        assert answer.status_code == 401, answer.text
    elif caller in set(Role) and Role(caller) not in cell.roles:
        assert answer.status_code == 403, answer.text
    elif cell.ownership is Ownership.OWNER and caller in _callers_without_ownership(cell):
        assert (answer.status_code, answer.json()["code"]) in _ownership_refusals(cell.path), answer.text
    elif caller != "anonymous":
        assert answer.status_code != 401, answer.text
        assert answer.status_code != 403 or answer.json()["code"] != "forbidden", answer.text


def _ownership_refusals(path: str) -> set[tuple[int, str]]:
    """Returns the refusals for an object of another user; a private one is answered as if it did not exist."""
    for parameter, code in _PUBLIC_OBJECTS.items():
        if parameter in path:
            return {(403, code)}
    return {(404, f"unknown_{kind}") for kind in ("address", "order", "payment", "payment_method", "session", "user")}


def _callers_without_ownership(cell: AccessRule) -> set[str]:
    """Registers callers who own none of the objects."""
    kept_from_admins = any(part in cell.path for part in _NOT_EVEN_ADMINS)
    return {"customer", "seller"} | ({"admin"} if kept_from_admins else set())
