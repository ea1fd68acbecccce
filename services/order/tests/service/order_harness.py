"""Runs the order service for its tests, with fakes of the product and inventory services at the gRPC boundary."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import httpx
from chassis.database.engine import Database
from chassis.database.invariants import InvariantMonitor, load_invariants
from chassis.grpc.wire import CODE_KEY, MEMBERS_KEY, timestamp
from chassis.http.authentication import Role
from chassis.messaging.broker import Broker
from chassis.messaging.events import Event
from chassis.runtime import process
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.broker import new_vhost, publish_events
from chassis_testing.callers import KNOWN_CALLERS, OWN_TOKENS, open_caller_channel
from chassis_testing.databases import SqlConnection, connect_to, migrated_database
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from grpc import aio
from order_service.app import SCHEMA, build
from order_service.handlers.grpc import ALLOWED_CALLERS
from order_service.settings import Settings
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded, ReservationRejected, UserErased
from shopapi.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from shopapi.money.v1 import money_pb2
from shopapi.order.v1 import order_pb2_grpc
from shopapi.payment.v1 import payment_pb2, payment_pb2_grpc
from shopapi.product.v1 import product_pb2, product_pb2_grpc
from shopapi.user.v1 import user_pb2_grpc

ADMIN = 1
EXPENSIVE_PRODUCT = 999
EURO_PRODUCT = 1000
UNKNOWN_PRODUCT = 2000
SELLER, OTHER_SELLER = 7, 8


@dataclass
class FakeProducts(product_pb2_grpc.ProductServiceServicer):
    """A product service in which product n costs n dollars, or n euros from EURO_PRODUCT on.

    EXPENSIVE_PRODUCT costs a billion dollars, and there are no products from UNKNOWN_PRODUCT on. Products that end
    in 9 are OTHER_SELLER's. `prices` overrides prices in minor units, and `withdrawn` products are not for sale.
    """

    is_unavailable: bool = False
    prices: dict[int, int] = field(default_factory=dict)
    withdrawn: set[int] = field(default_factory=set)

    async def GetPrices(  # noqa: N802 - the contract's name
        self, request: product_pb2.GetPricesRequest, context: aio.ServicerContext[Any, Any]
    ) -> product_pb2.GetPricesResponse:
        if self.is_unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable")
        known = [
            product for product in request.product_ids if product < UNKNOWN_PRODUCT and product not in self.withdrawn
        ]
        return product_pb2.GetPricesResponse(products=[_priced(product, self.prices.get(product)) for product in known])

    async def GetSeller(self, request: object, context: object) -> product_pb2.GetSellerResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError


def _priced(product: int, amount: int | None) -> product_pb2.PricedProduct:
    if amount is None:
        amount = 10**11 if product == EXPENSIVE_PRODUCT else product * 100
    price = money_pb2.Money(amount=amount, currency="EUR" if product >= EURO_PRODUCT else "USD")
    seller = OTHER_SELLER if product % 10 == 9 else SELLER
    return product_pb2.PricedProduct(product_id=product, name=f"Product {product}", price=price, seller_id=seller)


@dataclass
class FakeInventory(inventory_pb2_grpc.InventoryServiceServicer):
    """An inventory service with plenty of every product, except of those in `stock`.

    `after_reserving` is called before a reservation is answered; `loses_responses` then answers with an error.
    """

    stock: dict[int, int] = field(default_factory=dict)
    maxima: dict[int, int] = field(default_factory=dict)
    is_unavailable: bool = False
    reservations: dict[UUID, dict[int, int]] = field(default_factory=dict)
    released: list[UUID] = field(default_factory=list)
    after_reserving: Callable[[], Awaitable[None]] | None = None
    loses_responses: bool = False

    async def GetStock(self, request: object, context: object) -> inventory_pb2.GetStockResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def GetChangeCount(self, request: object, context: object) -> inventory_pb2.GetChangeCountResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def GetStocks(  # noqa: N802 - the contract's name
        self, request: inventory_pb2.GetStocksRequest, context: aio.ServicerContext[Any, Any]
    ) -> inventory_pb2.GetStocksResponse:
        if self.is_unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable")
        stock = {product: self.stock.get(product, 1_000_000) for product in request.product_ids}
        stocks = [
            inventory_pb2.GetStockResponse(product_id=product, on_hand=units, available=units)
            for product, units in stock.items()
        ]
        return inventory_pb2.GetStocksResponse(stocks=stocks)

    async def Reserve(  # noqa: N802 - the contract's name
        self, request: inventory_pb2.ReserveRequest, context: aio.ServicerContext[Any, Any]
    ) -> inventory_pb2.ReserveResponse:
        if self.is_unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable")
        requested = {line.product_id: line.quantity for line in request.lines}
        short = [product for product, quantity in requested.items() if self.stock.get(product, quantity) < quantity]
        if short:
            shortages = [
                {
                    "product_id": product,
                    "requested": requested[product],
                    "available": min(self.stock[product], 50),
                    "is_exact": self.stock[product] <= 50,
                }
                for product in short
            ]
            await _refuse(context, "out_of_stock", shortages)
        excesses = [
            {"product_id": product, "requested": quantity, "maximum": self.maxima[product]}
            for product, quantity in requested.items()
            if quantity > self.maxima.get(product, quantity)
        ]
        if excesses:
            await _refuse(context, "quantity_limit", excesses)
        self.reservations[UUID(request.order_id)] = requested
        if self.after_reserving is not None:
            await self.after_reserving()
        if self.loses_responses:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the response was lost")
        return inventory_pb2.ReserveResponse()

    async def Release(self, request: inventory_pb2.ReleaseRequest, context: object) -> inventory_pb2.ReleaseResponse:  # noqa: N802 - the contract's name
        self.released.append(UUID(request.order_id))
        return inventory_pb2.ReleaseResponse()


@dataclass
class FakePayments(payment_pb2_grpc.PaymentServiceServicer):
    """A payment service that has the payments in `states`, and none of any other order.

    `before_answering` is called before a question is answered.
    """

    states: dict[str, payment_pb2.StateOfPayment] = field(default_factory=dict)
    is_unavailable: bool = False
    before_answering: Callable[[], Awaitable[None]] | None = None
    asked: list[str] = field(default_factory=list)

    async def GetPaymentStates(  # noqa: N802 - the contract's name
        self, request: payment_pb2.GetPaymentStatesRequest, context: aio.ServicerContext[Any, Any]
    ) -> payment_pb2.GetPaymentStatesResponse:
        self.asked += request.order_ids
        if self.is_unavailable:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "unavailable")
        if self.before_answering is not None:
            await self.before_answering()
        return payment_pb2.GetPaymentStatesResponse(orders=map(self._state, request.order_ids))

    def capture(self, order: dict[str, Any], payment_id: str, amount: int | None = None) -> None:
        """Makes the order's payment known as captured, although no event says so."""
        paid = order["total"] | ({} if amount is None else {"amount": amount})
        captured = payment_pb2.CapturedPayment(
            payment_id=payment_id, amount=money_pb2.Money(**paid), completed_at=timestamp(datetime.now(UTC))
        )
        self.states[order["id"]] = payment_pb2.StateOfPayment(
            order_id=order["id"], state=payment_pb2.PAYMENT_STATE_CAPTURED, captured=captured
        )

    def refund(self, order: dict[str, Any], refund_id: str, amount: int) -> None:
        """Makes a refund of the order's payment known as succeeded, although no event says so."""
        money = money_pb2.Money(amount=amount, currency=order["total"]["currency"])
        refund = payment_pb2.SucceededRefund(
            refund_id=refund_id, amount=money, refunded_at=timestamp(datetime.now(UTC))
        )
        self.states[order["id"]].refunds.append(refund)

    def close(self, order: dict[str, Any], *, is_closed: bool) -> None:
        """Makes it known whether the payment service has received that the order was cancelled or paid manually."""
        self.states.setdefault(order["id"], self._state(order["id"])).is_closed = is_closed

    def process(self, order: dict[str, Any]) -> None:
        """Makes the order's payment known as in process."""
        self.states[order["id"]] = payment_pb2.StateOfPayment(
            order_id=order["id"], state=payment_pb2.PAYMENT_STATE_IN_PROCESS
        )

    def _state(self, order_id: str) -> payment_pb2.StateOfPayment:
        none = payment_pb2.StateOfPayment(order_id=order_id, state=payment_pb2.PAYMENT_STATE_NONE)
        return self.states.get(order_id, none)


async def _refuse(context: aio.ServicerContext[Any, Any], code: str, products: Sequence[Mapping[str, object]]) -> None:
    members = json.dumps({"products": products}).encode()
    trailer = ((CODE_KEY, code), (MEMBERS_KEY, members))
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the order is refused", trailer)


def payment_of(order: dict[str, Any], payment_id: str | None = None, amount: int | None = None) -> Event:
    paid = order["total"] | ({} if amount is None else {"amount": amount})
    payload = PaymentCompleted(
        payment_id=payment_id or str(uuid7()),
        order_id=order["id"],
        buyer_id=order["buyer_id"],
        amount=money_pb2.Money(**paid),
        completed_at=timestamp(datetime.now(UTC)),
    )
    return Event(uuid7(), order["id"], datetime.now(UTC), payload, {})


def refund_of(
    order: dict[str, Any], payment_id: str, amount: int, at: datetime | None = None, refund_id: str | None = None
) -> Event:
    payload = PaymentRefunded(
        refund_id=refund_id or str(uuid7()),
        payment_id=payment_id,
        order_id=order["id"],
        buyer_id=order["buyer_id"],
        amount=money_pb2.Money(amount=amount, currency=order["total"]["currency"]),
        refunded_at=timestamp(at or datetime.now(UTC)),
    )
    return Event(uuid7(), order["id"], datetime.now(UTC), payload, {})


def rejection_of(order_id: str) -> Event:
    return Event(uuid7(), order_id, datetime.now(UTC), ReservationRejected(order_id=order_id), {})


def erasure_of(user_id: int) -> Event:
    payload = UserErased(user_id=user_id, erased_at=timestamp(datetime.now(UTC)))
    return Event(uuid7(), str(user_id), datetime.now(UTC), payload, {})


@dataclass(frozen=True)
class OrderApp:
    """The running order service: HTTP in process, gRPC over loopback, its relay and consumer on the real broker."""

    http: httpx.AsyncClient
    rpc: order_pb2_grpc.OrderServiceStub
    issuer: TokenIssuer
    products: FakeProducts
    inventory: FakeInventory
    payments: FakePayments
    database: DatabaseSettings
    database_proxy: FaultProxy
    broker_url: str
    published: list[Event]

    def bearer(self, buyer: int, role: Role = Role.CUSTOMER) -> dict[str, str]:
        return self.issuer.bearer(buyer, role)

    async def order_items(self, buyer: int, *lines: tuple[int, int], key: str | None = None) -> httpx.Response:
        """Posts an order of products in quantities."""
        items = [{"product_id": product, "quantity": quantity} for product, quantity in lines]
        return await self.post_order(buyer, key, items=items)

    async def place_order(self, buyer: int, *lines: tuple[int, int]) -> dict[str, Any]:
        """Places an order of products in quantities, and returns it."""
        response = await self.order_items(buyer, *lines)
        assert response.status_code == 201, response.text
        order: dict[str, Any] = response.json()["data"]
        return order

    async def post_order(self, buyer: int, key: str | None = None, **body: object) -> httpx.Response:
        """Posts an order with these fields, or without a body: then it is an order of the buyer's cart."""
        headers = self.bearer(buyer) | ({} if key is None else {"Idempotency-Key": key})
        return await self.http.post("/api/v1/orders", headers=headers, **({"json": body} if body else {}))  # type: ignore[arg-type]

    async def get(self, order_id: str, buyer: int, role: Role = Role.CUSTOMER) -> httpx.Response:
        return await self.http.get(f"/api/v1/orders/{order_id}", headers=self.bearer(buyer, role))

    async def request_cart(
        self,
        method: str,
        path: str = "",
        body: dict[str, int] | None = None,
        buyer: int | None = None,
        token: str | None = None,
    ) -> httpx.Response:
        headers = ({} if buyer is None else self.bearer(buyer)) | ({} if token is None else {"Cart-Token": token})
        return await self.http.request(method, f"/api/v1/cart{path}", json=body, headers=headers)

    async def add_to_cart(
        self, buyer: int | None, product: int, quantity: int, token: str | None = None
    ) -> httpx.Response:
        response = await self.request_cart("POST", "", {"product_id": product, "quantity": quantity}, buyer, token)
        assert response.status_code == 201, response.text
        return response

    async def cart_quantities(self, buyer: int | None = None, token: str | None = None) -> dict[int, int]:
        """Returns the quantities in a cart by product."""
        lines = (await self.request_cart("GET", buyer=buyer, token=token)).json()["data"]["lines"]
        return {line["product_id"]: line["quantity"] for line in lines}

    async def fill_guest_cart(self, *lines: tuple[int, int]) -> str:
        """Fills the cart of a new guest, and returns its token."""
        (product, quantity), *more = lines
        token: str = (await self.add_to_cart(None, product, quantity)).headers["Cart-Token"]
        for product, quantity in more:
            await self.add_to_cart(None, product, quantity, token)
        return token

    async def cancel(self, order_id: str, buyer: int, role: Role = Role.CUSTOMER) -> httpx.Response:
        return await self.http.delete(f"/api/v1/orders/{order_id}", headers=self.bearer(buyer, role))

    async def orders_of(self, buyer: int) -> list[dict[str, Any]]:
        response = await self.http.get("/api/v1/orders?limit=100", headers=self.bearer(buyer))
        orders: list[dict[str, Any]] = response.json()["data"]
        return orders

    async def pay(self, order: dict[str, Any], payment_id: str | None = None, amount: int | None = None) -> None:
        """Publishes that a payment of the order was captured, and waits until the service has received it."""
        await self.publish(payment_of(order, payment_id, amount))

    async def place_confirmed_order(self, buyer: int, *lines: tuple[int, int]) -> dict[str, Any]:
        """Places an order and pays for it."""
        placed = await self.place_order(buyer, *lines)
        await self.pay(placed)
        order: dict[str, Any] = (await self.get(placed["id"], buyer)).json()["data"]
        assert order["status"] == "confirmed"
        return order

    async def put_status(self, order_id: str, status: str, **fields: object) -> httpx.Response:
        path, body = f"/api/v1/orders/{order_id}/status", {"status": status} | fields
        return await self.http.put(path, json=body, headers=self.bearer(ADMIN, Role.ADMIN))

    async def expire(self, *order_ids: str, seconds_ago: float = 60) -> None:
        """Makes orders expire some seconds ago: by default long enough for payment to be asked."""
        expires_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        async with self.sql() as sql:
            await sql.execute(
                "UPDATE orders SET expires_at = $1 WHERE id = ANY($2)", expires_at, [UUID(each) for each in order_ids]
            )

    async def put(self, order_id: str, path: str, **body: object) -> httpx.Response:
        """Puts a body to a path below an order, as an admin."""
        headers = self.bearer(ADMIN, Role.ADMIN)
        return await self.http.put(f"/api/v1/orders/{order_id}/{path}", json=body, headers=headers)

    async def change_status(self, order_id: str, *statuses: str) -> None:
        """Changes the status of an order as an admin, step by step."""
        for status in statuses:
            response = await self.put_status(order_id, status)
            assert response.status_code == 200, response.text

    async def publish(self, *deliveries: Event) -> None:
        """Publishes events, and waits until the service has received each of them."""
        await publish_events(self.broker_url, deliveries)
        await self.wait_until_received({event.id for event in deliveries})

    async def wait_until_received(self, ids: set[UUID]) -> None:
        async with self.sql() as sql:

            async def all_are_received() -> bool:
                count = await sql.fetchval("SELECT count(*) FROM inbox WHERE event_id = ANY($1)", list(ids))
                return bool(count == len(ids))

            await eventually(all_are_received)

    def events_about(self, order_id: str) -> list[Event]:
        """Returns the events that this service published about an order, in the order of their arrival, each once."""
        own = (e for e in self.published if e.subject == order_id and e.type.producer == "order")
        return list({event.id: event for event in own}.values())

    async def wait_for_events(self, order_id: str, *types: str) -> None:
        """Waits until exactly these events have been published about an order."""

        async def all_are_published() -> bool:
            return sorted(event.type.name for event in self.events_about(order_id)) == sorted(types)

        await eventually(all_are_published)

    async def cut_database(self) -> None:
        """Cuts the service's connections to its database, and refuses new ones."""
        await self.database_proxy.sever()

    async def restore_database(self) -> None:
        await self.database_proxy.restore()

    def sql(self) -> AbstractAsyncContextManager[SqlConnection]:
        return connect_to(self.database)


@asynccontextmanager
async def running_app(**overrides: object) -> AsyncIterator[OrderApp]:
    """Runs the order service on a new database and virtual host, and records its events.

    These are the events that notification or payment receives.
    """
    issuer, products, inventory, payments = TokenIssuer(), FakeProducts(), FakeInventory(), FakePayments()
    async with (
        migrated_database("order_service") as database,
        new_vhost() as broker_url,
        grpc_server(
            lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(FakeUserService(issuer), server),
            lambda server: product_pb2_grpc.add_ProductServiceServicer_to_server(products, server),
            lambda server: inventory_pb2_grpc.add_InventoryServiceServicer_to_server(inventory, server),
            lambda server: payment_pb2_grpc.add_PaymentServiceServicer_to_server(payments, server),
        ) as neighbours,
        _collecting(broker_url) as published,
        fault_proxy(database.db_host, database.db_port) as database_proxy,
    ):
        settings = Settings(
            **(
                {"payment_comparison_seconds": 3600}
                | database.model_dump()
                | overrides
                | {"db_host": "127.0.0.1", "db_port": database_proxy.port}
            ),
            rabbitmq_url=broker_url,
            user_grpc=neighbours,
            product_grpc=neighbours,
            inventory_grpc=neighbours,
            payment_grpc=neighbours,
            grpc_port=0,
            grpc_tokens=OWN_TOKENS,
            grpc_callers=KNOWN_CALLERS,
            expiry_sweep_seconds=0.05,
            look_deadline_seconds=5,  # a busy machine must not look like a slow neighbour
        )
        async with run_service(await build(settings)) as service:
            channel = open_caller_channel(f"127.0.0.1:{service.rpc_port}", ALLOWED_CALLERS)
            stub = order_pb2_grpc.OrderServiceStub(channel)
            yield OrderApp(
                service.http,
                stub,
                issuer,
                products,
                inventory,
                payments,
                database,
                database_proxy,
                broker_url,
                published,
            )
            await channel.close()


@asynccontextmanager
async def _collecting(broker_url: str) -> AsyncIterator[list[Event]]:
    published: list[Event] = []

    async def receive(event: Event) -> None:
        published.append(event)

    consuming = [asyncio.create_task(Broker(broker_url, each).consume(receive)) for each in ("notification", "payment")]
    try:
        yield published
    finally:
        await process.cancel_all(*consuming)


async def find_violations(settings: DatabaseSettings) -> dict[str, list[dict[str, object]]]:
    """Returns the rows that violate an invariant of the order database, by invariant."""
    database = Database(settings, SCHEMA)
    monitor = InvariantMonitor(database, "order_service")
    rows = {each.name: await monitor.violations(each) for each in load_invariants("order_service")}
    await database.close()
    return {name: violations for name, violations in rows.items() if violations}
