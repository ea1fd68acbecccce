"""A client of a shop's gateway for tests: `api` is typed, `call` and `http` send any request."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import httpx
from chassis_testing.waiting import eventually
from ecommerce_client import Client, ProblemError
from ecommerce_client.models import Price
from ecommerce_client.models.inventory import SetStockRequest, StockResponse
from ecommerce_client.models.order import OrderItemRequest, OrderRequest, OrderResponse, OrderStatus
from ecommerce_client.models.payment import PaymentRequest, PaymentResponse
from ecommerce_client.models.product import CategoryRequest, ProductRequest
from ecommerce_client.models.user import LoginRequest, RegisterRequest, TokensResponse, UserRequest

Json = dict[str, Any]


class Shop:
    """One shop's public API. `url` is the gateway's, without a path."""

    def __init__(self, url: str, timeout: float = 15.0) -> None:
        self.url = url
        self.http = httpx.AsyncClient(base_url=f"{url.rstrip('/')}/api/v1", timeout=timeout)
        self.api = Client(url, http=self.http)

    async def __aenter__(self) -> Shop:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        """Sends a request and returns the data of its answer; None for 204. Raises ProblemError, and
        httpx.TransportError if there was no answer.
        """
        response = await self.http.request(method, path, json=body, headers=headers)
        if response.is_error:
            raise ProblemError(response)
        return response.json()["data"] if response.content else None

    async def wait_until_healthy(self, within: float = 30.0) -> None:
        """Waits until requests get through the gateway to its services: the cluster's routing lags behind readiness."""

        async def is_open() -> bool:
            paths = ("/users/me", "/products", "/inventory/1", "/products/1/reviews")
            try:
                answers = [await self.http.get(path) for path in paths]
            except httpx.TransportError:
                return False
            return all(answer.status_code < 500 for answer in answers)

        await eventually(is_open, within)

    async def register(self, role: Literal["customer", "seller"] = "customer") -> Person:
        """Registers a new user."""
        email, password = f"{role}-{uuid.uuid4().hex[:12]}@example.com", uuid.uuid4().hex
        body = RegisterRequest(email=email, password=password, role=role)
        return self._person(password, await self.api.user.register(body))

    async def log_in(self, email: str, password: str) -> Person:
        return self._person(password, await self.api.user.login(LoginRequest(email=email, password=password)))

    def _person(self, password: str, tokens: TokensResponse) -> Person:
        return Person(self, tokens.user.email, password, tokens.access_token, tokens.user.id)

    async def another_admin(self, admin: Person) -> Person:
        """Registers a second admin, for tests that would lock out or change the first one."""
        person = await self.register()
        await admin.api.user.put_user(person.id, UserRequest(role="admin"))
        return await self.log_in(person.email, person.password)

    async def stock(self, product_id: int) -> StockResponse:
        return await self.api.inventory.get_stock(product_id)

    async def stocked_product(self, admin: Person, quantity: int) -> tuple[Person, int]:
        """Creates a seller with one product in stock, in a category of its own. Returns the seller and the product's
        id.
        """
        category = await admin.api.product.add_category(CategoryRequest(name=f"Category {uuid.uuid4().hex[:8]}"))
        seller = await self.register("seller")
        product = await seller.create_product(category.id)
        await seller.api.inventory.set_stock(product, SetStockRequest(quantity=quantity))
        return seller, product


def stock_of(product_id: int, on_hand: int, reserved: int = 0, committed: int = 0) -> StockResponse:
    """Returns the stock as the shop shows one that is small and has no maximum per order."""
    return StockResponse(
        product_id=product_id,
        on_hand=on_hand,
        reserved=reserved,
        committed=committed,
        available=on_hand - reserved - committed,
        max_per_order=None,
        is_exact=True,
    )


@dataclass(frozen=True)
class Person:
    """A user who is logged in."""

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

    @cached_property
    def api(self) -> Client:
        return self.shop.api.with_token(self.token)

    async def create_product(self, category_id: int, amount: int = 1290, name: str = "Espresso cup") -> int:
        """Creates a product and returns its id; `amount` is in cents of USD."""
        price = Price(amount=amount, currency="USD")
        body = ProductRequest(name=name, description="Porcelain, 80 ml", price=price, category_id=category_id)
        return (await self.api.product.add_product(body)).id

    async def order(self, *items: tuple[int, int], key: str | None = None) -> OrderResponse:
        """Places an order of (product id, quantity) pairs."""
        body = [OrderItemRequest(product_id=product, quantity=quantity) for product, quantity in items]
        return await self.api.order.place_order(OrderRequest(items=body), idempotency_key=key)

    async def pay(self, order_id: uuid.UUID, card: str = "pm_card_visa", key: str | None = None) -> PaymentResponse:
        """Pays an order in one call. Raises ProblemError 402 if the card is declined."""
        body = PaymentRequest(order_id=order_id, payment_method=card, confirm=True)
        return await self.api.payment.begin_payment(body, idempotency_key=key)

    async def buy(self, *items: tuple[int, int]) -> OrderResponse:
        """Places an order, pays it, and waits until it is confirmed."""
        order = await self.order(*items)
        await self.pay(order.id)
        return await self.order_becomes(order.id, "confirmed")

    async def order_becomes(self, order_id: uuid.UUID, status: OrderStatus, within: float = 30.0) -> OrderResponse:
        """Waits until the order has a status, which may come with an event, and returns the order."""
        seen: list[OrderResponse] = []

        async def has_become() -> bool:
            seen[:] = [await self.api.order.get_order(order_id)]
            return seen[0].status == status

        await eventually(has_become, within)
        return seen[0]

    async def cancel(self, order_id: uuid.UUID) -> None:
        await self.api.order.cancel_order(order_id)

    async def orders(self) -> list[OrderResponse]:
        """Returns all orders of this user, newest first."""
        return [order async for order in self.api.order.list_orders()]
