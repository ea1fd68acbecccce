"""A shop through its gateway, as the people who use it see it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from chassis.testing import eventually

Json = dict[str, Any]


class Refused(Exception):  # noqa: N818 - named for what happened
    """The shop said no: an HTTP status and the problem's stable code."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.problem: Json = response.json() if "json" in response.headers.get("content-type", "") else {}
        self.code = str(self.problem.get("code", ""))
        self.retry_after = float(response.headers.get("retry-after", 0))
        """Seconds; 0 where the shop does not say."""
        super().__init__(
            f"{response.request.method} {response.request.url.path}: {self.status} {self.code} {response.text[:300]}"
        )


class Shop:
    """One shop's API. `url` is the gateway's, without a path."""

    def __init__(self, url: str, timeout: float = 15.0) -> None:
        self.url = url
        self.http = httpx.AsyncClient(base_url=f"{url.rstrip('/')}/api/v1", timeout=timeout)

    async def __aenter__(self) -> Shop:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        """The answer's data; None for 204. Raises Refused, or httpx.TransportError where there was no answer."""
        response = await self.http.request(method, path, json=body, headers=headers)
        if response.is_error:
            raise Refused(response)
        return response.json()["data"] if response.content else None

    async def whole(self, path: str, headers: Mapping[str, str] | None = None, **params: str | int) -> list[Json]:
        """All that a list has, page by page. Raises Refused."""
        found: list[Json] = []
        for page in itertools.count(1):
            response = await self.http.get(path, params={**params, "page": page, "limit": 100}, headers=headers)
            if response.is_error:
                raise Refused(response)
            answer = response.json()
            found += answer["data"]
            if len(found) >= answer["total"] or not answer["data"]:
                break
        return found

    async def answers(self, within: float = 30.0) -> None:
        """Waits until requests get through the gateway to its services: the cluster's routing follows readiness by a moment."""

        async def is_open() -> bool:
            paths = ("/users/me", "/products", "/inventory/1", "/products/1/reviews")
            try:
                answers = [await self.http.get(path) for path in paths]
            except httpx.TransportError:
                return False
            return all(answer.status_code < 500 for answer in answers)

        await eventually(is_open, within)

    async def register(self, role: str = "customer") -> Person:
        """Somebody new."""
        email, password = f"{role}-{uuid.uuid4().hex[:12]}@example.com", uuid.uuid4().hex
        tokens = await self.call("POST", "/auth/register", {"email": email, "password": password, "role": role})
        return Person(self, email, password, tokens["access_token"], tokens["user"]["id"])

    async def log_in(self, email: str, password: str) -> Person:
        tokens = await self.call("POST", "/auth/login", {"email": email, "password": password})
        return Person(self, email, password, tokens["access_token"], tokens["user"]["id"])

    async def another_admin(self, admin: Person) -> Person:
        """A second admin, with whom a test may do what it would rather not do with the first."""
        person = await self.register()
        await admin.call("PUT", f"/users/{person.id}", {"role": "admin"})
        return await self.log_in(person.email, person.password)

    async def stock(self, product_id: int) -> dict[str, int]:
        stock: dict[str, int] = await self.call("GET", f"/inventory/{product_id}")
        return stock

    async def stocked_product(self, admin: Person, quantity: int) -> tuple[Person, int]:
        """A new seller with one product in stock, in a category of its own: who, and the product's id."""
        category = await admin.call("POST", "/categories", {"name": f"Category {uuid.uuid4().hex[:8]}"})
        seller = await self.register("seller")
        product = await seller.create_product(category["id"])
        await seller.call("PUT", f"/inventory/{product}", {"quantity": quantity})
        return seller, product


@dataclass(frozen=True)
class Person:
    """Somebody logged in."""

    shop: Shop
    email: str
    password: str
    token: str
    id: int

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        return await self.shop.call(method, path, body, {**self.headers, **(headers or {})})

    async def create_product(self, category_id: int, amount: int = 1290, name: str = "Espresso cup") -> int:
        """The new product's id; `amount` in cents of USD."""
        wanted = {
            "name": name,
            "description": "Porcelain, 80 ml",
            "price": {"amount": amount, "currency": "USD"},
            "category_id": category_id,
        }
        return int((await self.call("POST", "/products", wanted))["id"])

    async def order(self, *items: tuple[int, int], key: str | None = None) -> Json:
        """Places an order of (product id, quantity) pairs."""
        wanted = {"items": [{"product_id": product, "quantity": quantity} for product, quantity in items]}
        order: Json = await self.call("POST", "/orders", wanted, {"Idempotency-Key": key} if key else None)
        return order

    async def pay(self, order_id: str, card: str = "pm_card_visa", key: str | None = None) -> Json:
        """Pays an order at once. Raises Refused 402 where the card is declined."""
        wanted = {"order_id": order_id, "payment_method": card, "confirm": True}
        payment: Json = await self.call("POST", "/payments", wanted, {"Idempotency-Key": key} if key else None)
        return payment

    async def buy(self, *items: tuple[int, int]) -> Json:
        """Places an order, pays it, and waits until it is confirmed."""
        order = await self.order(*items)
        await self.pay(order["id"])
        return await self.order_becomes(order["id"], "confirmed")

    async def order_becomes(self, order_id: str, status: str, within: float = 30.0) -> Json:
        """Waits for a status, which may come by events; the order then."""
        seen: list[Json] = []

        async def has_become() -> bool:
            seen[:] = [await self.call("GET", f"/orders/{order_id}")]
            return bool(seen[0]["status"] == status)

        await eventually(has_become, within)
        return seen[0]

    async def cancel(self, order_id: str) -> None:
        await self.call("DELETE", f"/orders/{order_id}")

    async def orders(self) -> list[Json]:
        """All of one's own orders, newest first."""
        return await self.shop.whole("/orders", self.headers)
