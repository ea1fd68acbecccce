"""Placing an order.

It spans three services, may be stopped anywhere, and is repeated safely under its idempotency key.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database import idempotency
from chassis.database.engine import Database
from chassis.database.idempotency import Claim
from chassis.errors import DatabaseUnavailable, NeighbourRefused, NeighbourUnavailable
from chassis.observability import logs
from chassis.types.ids import OrderId, UserId
from chassis.types.money import Money
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.clients.inventory import Inventory
from order_service.clients.products import Products
from order_service.domain.addresses import Address, AddressId
from order_service.domain.carts import CartId
from order_service.domain.errors import (
    AccountErased,
    CartChanged,
    CartEmpty,
    OrderError,
    PlacementTooSlow,
    QuantityLimit,
    TooManyOpenOrders,
    TotalChanged,
    UnknownShippingAddress,
)
from order_service.domain.items import Line, merge_lines, price_items
from order_service.domain.open_orders import OpenOrderLimits
from order_service.domain.orders import Order
from order_service.domain.pricing import PricingRules
from order_service.repository.buyers import BuyerRepository
from order_service.repository.carts import CartRepository
from order_service.repository.orders import OrderReader, OrderRepository
from order_service.repository.placement import OrderKeyRepository, PlacementState, claim_key, read_state
from order_service.service.published_events import OrderEvents

PLACED = Counter("orders_placed_total", "Orders that were placed")

_ATTEMPTS = 3
_COMMIT_MARGIN = timedelta(seconds=15)
"""The timeout of a statement, and the difference between the clocks of two nodes."""

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """The terms of new orders: stock is reserved for `reservation_hold`; an order may stay unpaid for `order_ttl`."""

    reservation_hold: timedelta
    order_ttl: timedelta
    limits: OpenOrderLimits
    pricing: PricingRules = PricingRules()

    def is_reserved_for_storing(self, order: Order, at: datetime) -> bool:
        """Returns whether the order's stock is reserved for longer than a transaction that begins now takes to commit.

        Once the reservation is over, inventory asks for the order and releases the stock of one that is not stored.
        """
        return at < order.created_at + self.reservation_hold - min(_COMMIT_MARGIN, self.reservation_hold / 3)


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """What a buyer orders, where it is shipped, and what the buyer expects to pay for it.

    Without lines it is what is in the buyer's cart.
    """

    lines: tuple[Line, ...] | None
    ship_to: Address | AddressId | None = None
    expected_total: Money | None = None

    @property
    def canonical_form(self) -> object:
        """The request as JSON values, equal for requests that mean the same; the key's fingerprint is made of it."""
        lines = "cart" if self.lines is None else [[line.product_id, line.quantity] for line in merge_lines(self.lines)]
        form: dict[str, object] = {}
        if self.ship_to is not None:
            form["ship_to"] = asdict(self.ship_to) if isinstance(self.ship_to, Address) else str(self.ship_to)
        if self.expected_total is not None:
            form["expected_total"] = asdict(self.expected_total)
        return {"lines": lines} | form if form else lines


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt to place an order: everything that is decided before prices are fetched and stock is reserved."""

    order_id: OrderId
    buyer_id: UserId
    lines: Sequence[Line]
    ship_to: Address | None
    expected_total: Money | None
    is_from_cart: bool
    has_key: bool

    @property
    def is_key_releasable(self) -> bool:
        """Returns whether, after a refusal, the same key may stand for another request.

        It may order the changed cart, or what it ordered before with the new total.
        """
        return self.has_key and (self.is_from_cart or self.expected_total is not None)


class _KeyChanged(Exception):
    """A concurrent request has claimed this attempt's key since it was read, or was refused and has released it."""


class _ReservationEnded(Exception):
    """The reservation ended, or is about to, before the order was stored."""


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

        Raises IdempotencyKeyReused, UnknownProducts, MixedCurrencies, TotalTooLarge, TotalTooSmall, TotalNotChargeable,
        TotalChanged, OutOfStock, CartEmpty, CartChanged, UnknownShippingAddress, UnknownCountry, AddressRequired,
        AccountErased, TooManyOpenOrders, QuantityLimit, PlacementTooSlow.
        """
        failure: OrderError = CartChanged()
        for _ in range(_ATTEMPTS):
            try:
                return await self._attempt_to_place(buyer_id, request, key)
            except _KeyChanged as changed:
                log.info("placement is repeated", order_id=str(changed))
                failure = CartChanged()
            except _ReservationEnded as ended:
                log.warning("placement is repeated after its reservation ended", order_id=str(ended))
                failure = PlacementTooSlow()
        raise failure

    async def _attempt_to_place(
        self, buyer_id: UserId, request: PlacementRequest, key: idempotency.Key | None
    ) -> Order:
        """Raises _KeyChanged and _ReservationEnded with the order's id."""
        attempt = await self._begin(buyer_id, request, key)
        if isinstance(attempt, Order):
            return attempt
        return await self._store_or_release(attempt, await self._price_and_reserve(attempt))

    async def _begin(
        self, buyer_id: UserId, request: PlacementRequest, key: idempotency.Key | None
    ) -> Order | _Attempt:
        """Returns the order if it is stored already, else an attempt. Nothing is written unless a new key is claimed.

        A claim is committed before stock is reserved for its order. A request that is refused before that claims none.
        """
        address_id = None if isinstance(request.ship_to, Address) else request.ship_to
        async with self._database.read() as connection:
            state = await read_state(connection, buyer_id, key, address_id, self._now())
            claim = Claim(self._new_id(), idempotency.fingerprint(request.canonical_form))
            order_id = OrderId(claim.resource_id if state.held is None else claim.resolve(state.held))
            stored = await OrderReader(connection).find(order_id) if state.is_stored else None
        if stored is not None:
            return stored
        attempt = self._make_attempt(buyer_id, order_id, request, state, has_key=key is not None)
        if key is not None and state.held is None:
            await self._claim_key(key, claim, attempt)
        return attempt

    def _make_attempt(
        self, buyer_id: UserId, order_id: OrderId, request: PlacementRequest, state: PlacementState, *, has_key: bool
    ) -> _Attempt:
        """Raises AccountErased, UnknownShippingAddress, UnknownCountry, CartEmpty, TooManyOpenOrders, QuantityLimit."""
        ship_to = _shipping_address(buyer_id, request.ship_to, state)
        lines = merge_lines(request.lines or (state.cart if state.snapshot is None else state.snapshot))
        if not lines:
            raise CartEmpty
        self._policy.limits.ensure_allowed(lines, state.open_orders)  # before stock is reserved; `_store` checks again
        return _Attempt(
            order_id,
            buyer_id,
            lines,
            ship_to,
            request.expected_total,
            is_from_cart=request.lines is None,
            has_key=has_key,
        )

    async def _claim_key(self, key: idempotency.Key, claim: Claim, attempt: _Attempt) -> None:
        """Raises _KeyChanged if the key was claimed since it was read."""
        snapshot = attempt.lines if attempt.is_from_cart else None
        async with self._database.autocommit() as connection:
            if not await claim_key(connection, attempt.buyer_id, key, claim, snapshot, self._now()):
                raise _KeyChanged(attempt.order_id)

    async def _price_and_reserve(self, attempt: _Attempt) -> Order:
        """Returns the order at the current prices, its stock reserved. A refusal releases the key."""
        try:
            order = await self._price(attempt)
            held_until = order.created_at + self._policy.reservation_hold
            await self._inventory.reserve(order.id, attempt.lines, until=held_until)
        except TotalChanged:
            if await self._release_key(attempt):  # an earlier attempt under the key may have reserved stock
                await self._release_stock(attempt.order_id)
            raise
        except OrderError:
            await self._release_key(attempt)
            raise
        return order

    async def _price(self, attempt: _Attempt) -> Order:
        offers = await self._products.offers([line.product_id for line in attempt.lines])
        items, now, policy = price_items(attempt.lines, offers), self._now(), self._policy
        order = Order.place(
            attempt.order_id, attempt.buyer_id, items, policy.pricing, now, now + policy.order_ttl, attempt.ship_to
        )
        order.ensure_total(attempt.expected_total)
        return order

    async def _store_or_release(self, attempt: _Attempt, order: Order) -> Order:
        """Stores the order, or releases its stock where it is certain that this order is not stored and will not be."""
        try:
            return await self._store(attempt, order)
        except DatabaseUnavailable:
            raise  # the order may be stored nevertheless; if it is not, the reservation expires
        except (CartChanged, TooManyOpenOrders, QuantityLimit, _KeyChanged):
            await self._release_key(attempt)
            await self._release_stock(order.id)
            raise
        except Exception:
            if not attempt.has_key:  # under a key, another request may be storing the order at this moment
                await self._release_stock(order.id)
            raise

    async def _store(self, attempt: _Attempt, order: Order) -> Order:
        """Returns the stored order: this one, or the one that a request under the same key has stored first.

        Raises _ReservationEnded as the last step before the commit, so that no time is left for the stock to be sold.
        """
        async with self._database.begin() as transaction:
            stored = await OrderRepository(transaction).add_once(order, requires_key=attempt.is_key_releasable)
            if stored is None:
                raise _KeyChanged(order.id)
            if stored is not order:
                return stored
            cart_id = await self._lock_buyer(transaction, attempt)
            await self._ensure_allowed(transaction, attempt)
            await self._events.record_placed(transaction, order)
            if cart_id is not None and not await CartRepository(transaction).subtract_lines(cart_id, attempt.lines):
                raise CartChanged
            if not self._policy.is_reserved_for_storing(order, self._now()):
                raise _ReservationEnded(order.id)
        _report_placed(order)
        return order

    async def _lock_buyer(self, transaction: AsyncConnection, attempt: _Attempt) -> CartId | None:
        """Locks the buyer's row, and the cart that the order takes its lines from, whose id it returns.

        Raises AccountErased: the account was erased while stock was reserved, and nothing may be stored any more.
        """
        if attempt.is_from_cart:
            cart_id = await CartRepository(transaction).ensure_of_buyer(attempt.buyer_id, self._new_id(), self._now())
            may_store = cart_id is not None
        else:
            cart_id, may_store = None, await BuyerRepository(transaction).lock(attempt.buyer_id)
        if not may_store:
            raise AccountErased(attempt.buyer_id)
        return cart_id

    async def _ensure_allowed(self, transaction: AsyncConnection, attempt: _Attempt) -> None:
        """Raises TooManyOpenOrders, QuantityLimit. Concurrent orders are counted, since the buyer's row is locked."""
        others = await OrderRepository(transaction).open_orders(attempt.buyer_id, attempt.order_id, self._now())
        self._policy.limits.ensure_allowed(attempt.lines, others)

    async def _release_key(self, attempt: _Attempt) -> bool:
        """Releases the key of a refused request, if it may stand for another one and its order is not stored.

        Returns whether it was released. A concurrent request under the key finds that, and stores nothing.
        """
        if not attempt.is_key_releasable:
            return False
        async with self._database.begin() as transaction:
            keys = OrderKeyRepository(transaction)
            is_held = await keys.lock(attempt.order_id)
            if not is_held or await OrderRepository(transaction).find(attempt.order_id) is not None:
                return False
            await keys.release(attempt.order_id)
            return True

    async def _release_stock(self, order_id: OrderId) -> None:
        """Releases the reservation at once; if inventory does not answer, the reservation expires."""
        try:
            await self._inventory.release(order_id)
        except (NeighbourUnavailable, NeighbourRefused) as error:
            log.warning("stock stays reserved until its hold expires", order_id=str(order_id), reason=str(error))


def _shipping_address(buyer_id: UserId, ship_to: Address | AddressId | None, state: PlacementState) -> Address | None:
    """Raises AccountErased, UnknownShippingAddress, UnknownCountry."""
    if state.is_buyer_erased:
        raise AccountErased(buyer_id)
    if ship_to is None or isinstance(ship_to, Address):
        return ship_to
    if state.address is None:
        raise UnknownShippingAddress(ship_to)
    state.address.ensure_known_country()
    return state.address


def _report_placed(order: Order) -> None:
    PLACED.inc()
    log.info("order placed", order_id=str(order.id))
