"""Placing an order. It spans three services; it may be stopped anywhere, and repeated under its key."""

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
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.clients.inventory import Inventory
from order_service.clients.products import Products
from order_service.domain.addresses import Address, AddressId
from order_service.domain.carts import covers
from order_service.domain.charges import Tariff
from order_service.domain.errors import AccountErased, CartChanged, CartEmpty, NoSuchAddressToShipTo, OrderError
from order_service.domain.orders import Line, Order, merged
from order_service.repository.buyers import BuyerRepository
from order_service.repository.carts import CartRepository, DraftRepository
from order_service.repository.orders import OrderRepository
from order_service.service.journal import PLACED, REVENUE, Journal

_ATTEMPTS = 3

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """`hold`: how long stock is set aside for an order that is being placed; `payable`: how long for one that is not paid."""

    hold: timedelta
    payable: timedelta
    tariff: Tariff = Tariff()


@dataclass(frozen=True, slots=True)
class Wish:
    """What a buyer sends. Without lines they mean what is in their cart."""

    lines: tuple[Line, ...] | None
    ship_to: Address | AddressId | None = None

    @property
    def meaning(self) -> object:
        """As JSON values, equal for wishes that mean the same."""
        lines = "cart" if self.lines is None else [[line.product_id, line.quantity] for line in merged(self.lines)]
        if self.ship_to is None:
            return lines
        to = asdict(self.ship_to) if isinstance(self.ship_to, Address) else str(self.ship_to)
        return {"lines": lines, "ship_to": to}


@dataclass(frozen=True, slots=True)
class _Draft:
    """An order on its way: everything that is decided before its prices are asked for."""

    order_id: OrderId
    buyer_id: UserId
    lines: Sequence[Line]
    ship_to: Address | None
    is_from_cart: bool
    has_key: bool


class _KeyLetGo(Exception):
    """Another request under the same key was refused, and has let go of the order that this one was working on."""


class Placing:
    def __init__(
        self,
        database: Database,
        journal: Journal,
        products: Products,
        inventory: Inventory,
        terms: Terms,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._database = database
        self._journal = journal
        self._products = products
        self._inventory = inventory
        self._terms = terms
        self._now = now
        self._new_id = new_id

    async def place(self, buyer_id: UserId, wish: Wish, key: idempotency.Key | None) -> Order:
        """The order that the key stands for; without a key a new one.

        Everything after the claim is idempotent by the order's id, so requests under one key may run at once, and one that
        stopped halfway is finished by the next. Raises KeyReused, UnknownProducts, MixedCurrencies, TotalTooLarge, OutOfStock,
        CartEmpty, CartChanged, NoSuchAddressToShipTo, AccountErased.
        """
        for _ in range(_ATTEMPTS):
            order = await self._begin(buyer_id, wish, key)
            if isinstance(order, Order):
                return order
            try:
                return await self._carry_out(order)
            except _KeyLetGo:
                log.info("begins again", order_id=str(order.order_id))
        raise CartChanged

    async def _begin(self, buyer_id: UserId, wish: Wish, key: idempotency.Key | None) -> Order | _Draft:
        """The order if it is stored already, else what it is to be. Committed before anything else begins."""
        async with self._database.begin() as transaction:
            order_id = await self._claim(transaction, buyer_id, wish, key)
            stored = None if key is None else await OrderRepository(transaction).find(order_id)
            if stored is not None:
                return stored
            ship_to = await _address(transaction, buyer_id, wish.ship_to)
            is_from_cart = wish.lines is None
            lines = merged(wish.lines or await _lines_of_cart(transaction, buyer_id, order_id, key is not None))
            return _Draft(order_id, buyer_id, lines, ship_to, is_from_cart, key is not None)

    async def _claim(
        self, transaction: AsyncConnection, buyer_id: UserId, wish: Wish, key: idempotency.Key | None
    ) -> OrderId:
        """The order id to work under. The key's row is locked."""
        claim = Claim(self._new_id(), idempotency.fingerprint(wish.meaning))
        if key is None:
            return OrderId(claim.resource_id)
        held = await KeyRepository(transaction).claim(buyer_id, key, claim, self._now())
        return OrderId(claim.resolve(held))

    async def _carry_out(self, draft: _Draft) -> Order:
        try:
            order = await self._reserve(draft)
        except OrderError:
            await self._let_go(draft)
            raise
        try:
            return await self._store(draft, order)
        except DatabaseUnavailable:
            raise  # it may have been stored all the same: the stock lapses by itself unless it was
        except (CartChanged, _KeyLetGo):
            await self._let_go(draft)
            await self._release(order.id)
            raise
        except Exception:
            if not draft.has_key:  # under a key, another request may be storing the order at this moment
                await self._release(order.id)
            raise

    async def _reserve(self, draft: _Draft) -> Order:
        """At the prices of this moment, its stock set aside."""
        offers = await self._products.offers([line.product_id for line in draft.lines])
        now, terms = self._now(), self._terms
        order = Order.place(
            draft.order_id, draft.buyer_id, draft.lines, offers, now, now + terms.payable, terms.tariff, draft.ship_to
        )
        await self._inventory.reserve(order.id, draft.lines, until=now + terms.hold)
        return order

    async def _store(self, draft: _Draft, order: Order) -> Order:
        """The order as it is stored: this one, or the one that a request under the same key has stored first."""
        async with self._database.begin() as transaction:
            if draft.is_from_cart and draft.has_key and not await DraftRepository(transaction).lock_key(order.id):
                raise _KeyLetGo
            stored = await self._journal.placed(transaction, order)
            if stored is not order:
                return stored
            if draft.is_from_cart:
                await _take_from_cart(transaction, draft)
        self._journal.wake()
        PLACED.inc()
        REVENUE.labels(order.total.currency).inc(order.total.amount)
        log.info("order placed", order_id=str(order.id))
        return order

    async def _let_go(self, draft: _Draft) -> None:
        """After a refusal the buyer changes their cart, and the same key may stand for what is in it then.

        Whoever else works on the order finds the key gone, and stores nothing.
        """
        if not (draft.is_from_cart and draft.has_key):
            return
        async with self._database.begin() as transaction:
            drafts = DraftRepository(transaction)
            is_held = await drafts.lock_key(draft.order_id)
            if is_held and await OrderRepository(transaction).find(draft.order_id) is None:
                await drafts.let_go(draft.order_id)

    async def _release(self, order_id: OrderId) -> None:
        """So that the stock is free at once; where this fails, it is when its hold lapses."""
        try:
            await self._inventory.release(order_id)
        except (NeighbourUnavailable, NeighbourRefused) as error:
            log.warning("stock stays on hold until it lapses", order_id=str(order_id), reason=str(error))


async def _address(
    transaction: AsyncConnection, buyer_id: UserId, ship_to: Address | AddressId | None
) -> Address | None:
    buyers = BuyerRepository(transaction)
    if await buyers.is_erased(buyer_id):
        raise AccountErased(buyer_id)
    if ship_to is None or isinstance(ship_to, Address):
        return ship_to
    known = await buyers.address(buyer_id, ship_to)
    if known is None:
        raise NoSuchAddressToShipTo(ship_to)
    return known


async def _lines_of_cart(
    transaction: AsyncConnection, buyer_id: UserId, order_id: OrderId, has_key: bool
) -> Sequence[Line]:
    """What is in the cart now; under a key, what was in it at the key's first request. The key's row must be locked."""
    drafts, carts = DraftRepository(transaction), CartRepository(transaction)
    drafted = await drafts.find(order_id) if has_key else None
    if drafted is not None:
        return drafted
    cart_id = await carts.of_buyer(buyer_id)
    lines = [] if cart_id is None else await carts.lines(cart_id)
    if not lines:
        raise CartEmpty
    if has_key:
        await drafts.add(order_id, lines)
    return lines


async def _take_from_cart(transaction: AsyncConnection, draft: _Draft) -> None:
    """So that one cart is never ordered twice. Raises CartChanged."""
    carts = CartRepository(transaction)
    cart_id = await carts.lock_of_buyer(draft.buyer_id)
    if cart_id is None or not covers(await carts.lines(cart_id), draft.lines):
        raise CartChanged
    await carts.take(cart_id, draft.lines)
