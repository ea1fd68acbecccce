"""Placing an order.

It spans three services, may be stopped anywhere, and is repeated safely under its idempotency key.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database import idempotency
from chassis.database.engine import Database
from chassis.database.idempotency import Claim, KeyRepository
from chassis.errors import DatabaseUnavailable, NeighbourRefused, NeighbourUnavailable
from chassis.observability import logs
from chassis.types.ids import OrderId, UserId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.clients.inventory import Inventory
from order_service.clients.products import Products
from order_service.domain.addresses import Address, AddressId
from order_service.domain.carts import contains_lines
from order_service.domain.errors import (
    AccountErased,
    CartChanged,
    CartEmpty,
    OrderError,
    QuantityLimit,
    TooManyOpenOrders,
    UnknownShippingAddress,
)
from order_service.domain.items import Line, merge_lines, price_items
from order_service.domain.open_orders import OpenOrderLimits
from order_service.domain.orders import Order
from order_service.domain.pricing import PricingRules
from order_service.repository.buyers import BuyerRepository
from order_service.repository.carts import CartRepository, CartSnapshotRepository
from order_service.repository.orders import OrderRepository
from order_service.service.published_events import OrderEvents

PLACED = Counter("orders_placed_total", "Orders that were placed")
REVENUE = Counter("orders_revenue_minor_units_total", "Totals of the orders that were placed", ["currency"])

_ATTEMPTS = 3

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """The terms of new orders: stock is reserved for `reservation_hold`; an order may stay unpaid for `order_ttl`."""

    reservation_hold: timedelta
    order_ttl: timedelta
    limits: OpenOrderLimits
    pricing: PricingRules = PricingRules()


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """What a buyer orders, and where it is shipped. Without lines it is what is in the buyer's cart."""

    lines: tuple[Line, ...] | None
    ship_to: Address | AddressId | None = None

    @property
    def canonical_form(self) -> object:
        """The request as JSON values, equal for requests that mean the same; the key's fingerprint is made of it."""
        lines = "cart" if self.lines is None else [[line.product_id, line.quantity] for line in merge_lines(self.lines)]
        if self.ship_to is None:
            return lines
        ship_to = asdict(self.ship_to) if isinstance(self.ship_to, Address) else str(self.ship_to)
        return {"lines": lines, "ship_to": ship_to}


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt to place an order: everything that is decided before prices are fetched and stock is reserved."""

    order_id: OrderId
    buyer_id: UserId
    lines: Sequence[Line]
    ship_to: Address | None
    is_from_cart: bool
    has_key: bool

    @property
    def is_key_releasable(self) -> bool:
        """True for an order of the cart under a key: after a refusal, the same key may order the changed cart."""
        return self.is_from_cart and self.has_key


class _KeyReleased(Exception):
    """A concurrent request under the same key was refused, and has released the key that this attempt works under."""


class OrderPlacement:
    def __init__(
        self,
        database: Database,
        events: OrderEvents,
        products: Products,
        inventory: Inventory,
        policy: PlacementPolicy,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._database = database
        self._events = events
        self._products = products
        self._inventory = inventory
        self._policy = policy
        self._now = now
        self._new_id = new_id

    async def place_order(self, buyer_id: UserId, request: PlacementRequest, key: idempotency.Key | None) -> Order:
        """Places an order, or returns the one that the key stands for already.

        Everything after the claim of the key is idempotent by the order's id, so that concurrent requests under one key
        give one order, and an attempt that was stopped halfway is finished by the next request. A crash after the
        reservation is undone by the reservation's expiry.

        Raises IdempotencyKeyReused, UnknownProducts, MixedCurrencies, TotalTooLarge, OutOfStock, CartEmpty,
        CartChanged, UnknownShippingAddress, AccountErased, TooManyOpenOrders, QuantityLimit.
        """
        for _ in range(_ATTEMPTS):
            attempt = await self._begin(buyer_id, request, key)
            if isinstance(attempt, Order):
                return attempt
            try:
                order = await self._price_and_reserve(attempt)
                return await self._store_or_release(attempt, order)
            except _KeyReleased:
                log.info("placement is repeated", order_id=str(attempt.order_id))
        raise CartChanged

    async def _begin(
        self, buyer_id: UserId, request: PlacementRequest, key: idempotency.Key | None
    ) -> Order | _Attempt:
        """Claims the key; returns the order if it is stored already, else an attempt. Commits before going on."""
        async with self._database.begin() as transaction:
            order_id = await self._claim_order_id(transaction, buyer_id, request, key)
            stored = None if key is None else await OrderRepository(transaction).find(order_id)
            if stored is not None:
                return stored
            ship_to = await _shipping_address(transaction, buyer_id, request.ship_to)
            lines = request.lines or await _cart_lines(transaction, buyer_id, order_id, key is not None)
            attempt = _Attempt(order_id, buyer_id, merge_lines(lines), ship_to, request.lines is None, key is not None)
            await self._ensure_allowed(transaction, attempt)  # reserves nothing in vain; `_store` decides
            return attempt

    async def _claim_order_id(
        self, transaction: AsyncConnection, buyer_id: UserId, request: PlacementRequest, key: idempotency.Key | None
    ) -> OrderId:
        """Returns the id of the order that the key stands for, and locks the key's row; without a key, a new id.

        Raises IdempotencyKeyReused.
        """
        claim = Claim(self._new_id(), idempotency.fingerprint(request.canonical_form))
        if key is None:
            return OrderId(claim.resource_id)
        held = await KeyRepository(transaction).claim(buyer_id, key, claim, self._now())
        return OrderId(claim.resolve(held))

    async def _price_and_reserve(self, attempt: _Attempt) -> Order:
        """Returns the order at the current prices, its stock reserved. A refusal releases the key."""
        try:
            order = await self._price(attempt)
            held_until = order.created_at + self._policy.reservation_hold
            await self._inventory.reserve(order.id, attempt.lines, until=held_until)
        except OrderError:
            await self._release_key(attempt)
            raise
        return order

    async def _price(self, attempt: _Attempt) -> Order:
        offers = await self._products.offers([line.product_id for line in attempt.lines])
        items, now, policy = price_items(attempt.lines, offers), self._now(), self._policy
        return Order.place(
            attempt.order_id, attempt.buyer_id, items, policy.pricing, now, now + policy.order_ttl, attempt.ship_to
        )

    async def _store_or_release(self, attempt: _Attempt, order: Order) -> Order:
        """Stores the order, or releases its stock where it is certain that this order is not stored and will not be."""
        try:
            return await self._store(attempt, order)
        except DatabaseUnavailable:
            raise  # the order may be stored nevertheless; if it is not, the reservation expires
        except (CartChanged, TooManyOpenOrders, QuantityLimit, _KeyReleased):
            await self._release_key(attempt)
            await self._release_stock(order.id)
            raise
        except Exception:
            if not attempt.has_key:  # under a key, another request may be storing the order at this moment
                await self._release_stock(order.id)
            raise

    async def _store(self, attempt: _Attempt, order: Order) -> Order:
        """Returns the stored order: this one, or the one that a request under the same key has stored first."""
        async with self._database.begin() as transaction:
            if attempt.is_key_releasable and not await CartSnapshotRepository(transaction).lock_key(order.id):
                raise _KeyReleased
            stored = await OrderRepository(transaction).add_once(order)
            if stored is not order:
                return stored
            if not await BuyerRepository(transaction).lock(attempt.buyer_id):
                raise AccountErased(attempt.buyer_id)
            await self._ensure_allowed(transaction, attempt)
            await self._events.record_placed(transaction, order)
            if attempt.is_from_cart:
                await _take_from_cart(transaction, attempt)
        self._events.wake()
        _report_placed(order)
        return order

    async def _ensure_allowed(self, transaction: AsyncConnection, attempt: _Attempt) -> None:
        """Raises TooManyOpenOrders, QuantityLimit. Concurrent orders count only while the buyer's row is locked."""
        products = [line.product_id for line in attempt.lines]
        others = await OrderRepository(transaction).open_orders(
            attempt.buyer_id, attempt.order_id, products, self._now()
        )
        self._policy.limits.ensure_allowed(attempt.lines, others)

    async def _release_key(self, attempt: _Attempt) -> None:
        """Releases the key of a refused cart unless its order is stored, so that the key may order the changed cart.

        A concurrent request under the key finds it released, and stores nothing.
        """
        if not attempt.is_key_releasable:
            return
        async with self._database.begin() as transaction:
            snapshots = CartSnapshotRepository(transaction)
            is_held = await snapshots.lock_key(attempt.order_id)
            if is_held and await OrderRepository(transaction).find(attempt.order_id) is None:
                await snapshots.release_key(attempt.order_id)

    async def _release_stock(self, order_id: OrderId) -> None:
        """Releases the reservation at once; if inventory does not answer, the reservation expires."""
        try:
            await self._inventory.release(order_id)
        except (NeighbourUnavailable, NeighbourRefused) as error:
            log.warning("stock stays reserved until its hold expires", order_id=str(order_id), reason=str(error))


async def _shipping_address(
    transaction: AsyncConnection, buyer_id: UserId, ship_to: Address | AddressId | None
) -> Address | None:
    """Raises AccountErased, UnknownShippingAddress."""
    buyers = BuyerRepository(transaction)
    if await buyers.is_erased(buyer_id):
        raise AccountErased(buyer_id)
    if ship_to is None or isinstance(ship_to, Address):
        return ship_to
    address = await buyers.address(buyer_id, ship_to)
    if address is None:
        raise UnknownShippingAddress(ship_to)
    return address


async def _cart_lines(
    transaction: AsyncConnection, buyer_id: UserId, order_id: OrderId, has_key: bool
) -> Sequence[Line]:
    """Returns what is in the cart; under a key, what was in it at the key's first request. Raises CartEmpty.

    The key's row must be locked.
    """
    snapshots, carts = CartSnapshotRepository(transaction), CartRepository(transaction)
    snapshot = await snapshots.find(order_id) if has_key else None
    if snapshot is not None:
        return snapshot
    cart_id = await carts.find_of_buyer(buyer_id)
    lines = [] if cart_id is None else await carts.lines(cart_id)
    if not lines:
        raise CartEmpty
    if has_key:
        await snapshots.add(order_id, lines)
    return lines


async def _take_from_cart(transaction: AsyncConnection, attempt: _Attempt) -> None:
    """Removes the ordered lines from the cart, so that one cart is never ordered twice. Raises CartChanged."""
    carts = CartRepository(transaction)
    cart_id = await carts.lock_of_buyer(attempt.buyer_id)
    if cart_id is None or not contains_lines(await carts.lines(cart_id), attempt.lines):
        raise CartChanged
    await carts.subtract_lines(cart_id, attempt.lines)


def _report_placed(order: Order) -> None:
    PLACED.inc()
    REVENUE.labels(order.total.currency).inc(order.total.amount)
    log.info("order placed", order_id=str(order.id))
