"""The use cases of shopping carts. Concurrent changes of one cart wait for its lock, so that none is lost."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database import idempotency
from chassis.database.engine import Database
from chassis.database.pruning import prune_in_batches
from chassis.errors import NeighbourRefused, NeighbourUnavailable
from chassis.observability import logs
from chassis.types.ids import ProductId, UserId
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.clients.inventory import Inventory
from order_service.clients.products import Products
from order_service.domain.carts import (
    GUEST_CART_LIFETIME,
    MAX_LINES,
    Cart,
    CartId,
    CartOwner,
    CartToken,
    price_lines,
    select_lines_to_merge,
)
from order_service.domain.errors import AccountErased, CartFull, UnknownProducts
from order_service.domain.items import Line, Offer
from order_service.repository.carts import CartKeyRepository, CartReader, CartRepository

_TOUCH_INTERVAL = timedelta(hours=1)
"""How often reading a guest's cart is recorded as use, at most."""
_KEY_RETENTION = timedelta(days=7)
"""How long the idempotency key of an addition is kept: longer than any client repeats a request."""

log = logs.get_logger(__name__)


class CartService:
    def __init__(
        self,
        database: Database,
        products: Products,
        inventory: Inventory,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        new_token: Callable[[], CartToken],
    ) -> None:
        self._database = database
        self._products = products
        self._inventory = inventory
        self._now = now
        self._new_id = new_id
        self._new_token = new_token

    async def get_cart(self, owner: CartOwner) -> Cart:
        """Returns the cart as the shop would sell it now; an empty one for an owner without a cart."""
        return await self._price(await self._lines(owner), {})

    async def add_line(self, owner: CartOwner, line: Line, key: idempotency.Key | None = None) -> Cart:
        """Adds the line's quantity to that in the cart, under one key once, and returns the cart as it is then.

        A key belongs to the cart that it was sent for, so that a guest without a cart gets a new one each time.

        Raises UnknownProducts, CartFull, AccountErased, IdempotencyKeyReused.
        """
        return await self._change(owner, line, CartRepository.add_lines, key)

    async def set_quantity(self, owner: CartOwner, line: Line) -> Cart:
        """Sets the quantity of a product. Raises UnknownProducts, CartFull, AccountErased."""
        return await self._change(owner, line, CartRepository.set_quantities)

    async def remove_line(self, owner: CartOwner, product_id: ProductId) -> None:
        """Removes a product from the cart; does nothing if the cart does not hold it."""
        async with self._database.begin() as transaction:
            repository = CartRepository(transaction)
            cart_id = await self._lock(repository, owner)
            if cart_id is not None:
                await repository.remove_line(cart_id, product_id)

    async def empty_cart(self, owner: CartOwner) -> None:
        async with self._database.begin() as transaction:
            repository = CartRepository(transaction)
            cart_id = await self._lock(repository, owner)
            if cart_id is not None:
                await repository.remove_lines(cart_id)

    async def merge_guest_cart(self, buyer_id: UserId, token: CartToken) -> None:
        """Moves the lines of the cart that the buyer filled before logging in into the buyer's own cart.

        The guest's cart is deleted, so merging it again does nothing.
        """
        async with self._database.begin() as transaction:
            repository = CartRepository(transaction)
            guests_cart = await repository.lock_of_guest(token, self._oldest_use())
            if guests_cart is None:
                return
            buyers_cart = await repository.ensure_of_buyer(buyer_id, self._new_id(), self._now())
            if buyers_cart is None:
                return
            merged = select_lines_to_merge(await repository.lines(buyers_cart), await repository.lines(guests_cart))
            if merged:
                await repository.add_lines(buyers_cart, merged)
            await CartKeyRepository(transaction).copy(guests_cart, buyers_cart)
            await repository.remove(guests_cart)
        log.info("guest cart merged", lines=len(merged))

    async def prune_guest_carts(self) -> None:
        """Deletes guests' carts that have not been used for GUEST_CART_LIFETIME."""
        before = self._oldest_use()
        await prune_in_batches(
            self._database, lambda transaction, limit: CartRepository(transaction).prune_guest_carts(before, limit)
        )

    async def prune_keys(self) -> None:
        """Deletes the idempotency keys that are older than a week, in batches."""
        before = self._now() - _KEY_RETENTION
        await prune_in_batches(
            self._database, lambda transaction, limit: CartKeyRepository(transaction).prune(before, limit)
        )

    async def _change(
        self,
        owner: CartOwner,
        line: Line,
        change: Callable[[CartRepository, CartId, Sequence[Line]], Awaitable[Sequence[Line]]],
        key: idempotency.Key | None = None,
    ) -> Cart:
        offers = await self._products.offers([line.product_id])
        async with self._database.begin() as transaction:
            repository = CartRepository(transaction)
            cart_id, new_token = await self._ensure(transaction, owner)
            if key is None or await self._claim(transaction, cart_id, line, key):
                if line.product_id not in offers:
                    raise UnknownProducts([line.product_id])
                lines = await change(repository, cart_id, [line])
            else:
                lines = await repository.lines(cart_id)
            if len(lines) > MAX_LINES:
                raise CartFull(MAX_LINES)
        return replace(await self._price(lines, offers), cart_token=new_token)

    async def _claim(self, transaction: AsyncConnection, cart_id: CartId, line: Line, key: idempotency.Key) -> bool:
        """Returns whether the key is new. Raises IdempotencyKeyReused if it was sent with another line."""
        fingerprint = idempotency.fingerprint(["add", line.product_id, line.quantity])
        return await CartKeyRepository(transaction).claim(cart_id, key, fingerprint, self._now())

    async def _ensure(self, transaction: AsyncConnection, owner: CartOwner) -> tuple[CartId, CartToken | None]:
        """Locks the owner's cart, creating it if needed. Returns a token for a guest's new cart."""
        if owner.buyer_id is not None:
            return await self._ensure_of_buyer(transaction, owner.buyer_id), None
        repository, now = CartRepository(transaction), self._now()
        held = await self._lock(repository, owner)
        if held is not None:
            await repository.touch(held, now, if_before=now)
            return held, None
        token = self._new_token()
        return await repository.add_of_guest(token, self._new_id(), now), token

    async def _ensure_of_buyer(self, transaction: AsyncConnection, buyer_id: UserId) -> CartId:
        cart_id = await CartRepository(transaction).ensure_of_buyer(buyer_id, self._new_id(), self._now())
        if cart_id is None:
            raise AccountErased(buyer_id)
        return cart_id

    async def _lines(self, owner: CartOwner) -> Sequence[Line]:
        if owner.buyer_id is not None:
            async with self._database.read() as connection:
                return await CartReader(connection).lines_of_buyer(owner.buyer_id)
        return [] if owner.token is None else await self._lines_of_guest(owner.token)

    async def _lines_of_guest(self, token: CartToken) -> Sequence[Line]:
        """Returns the lines of a guest's cart, and records that it is still in use."""
        async with self._database.begin() as transaction:
            repository = CartRepository(transaction)
            cart_id = await repository.find_of_guest(token, self._oldest_use())
            if cart_id is None:
                return []
            await repository.touch(cart_id, self._now(), if_before=self._now() - _TOUCH_INTERVAL)
            return await repository.lines(cart_id)

    async def _lock(self, repository: CartRepository, owner: CartOwner) -> CartId | None:
        if owner.buyer_id is not None:
            return await repository.lock_of_buyer(owner.buyer_id)
        return None if owner.token is None else await repository.lock_of_guest(owner.token, self._oldest_use())

    async def _price(self, lines: Sequence[Line], known: Mapping[ProductId, Offer]) -> Cart:
        """Returns the cart at current prices; `known` has offers that this request has asked for already."""
        if not lines:
            return Cart(())
        unknown = [line.product_id for line in lines if line.product_id not in known]
        offers = {**known, **(await self._products.offers(unknown) if unknown else {})}
        return Cart(price_lines(lines, offers, await self._stock(list(offers))))

    async def _stock(self, product_ids: Sequence[ProductId]) -> dict[ProductId, int] | None:
        """Returns the available units of each product; None if inventory fails, since a cart is useful without them."""
        try:
            return await self._inventory.available(product_ids)
        except (NeighbourUnavailable, NeighbourRefused):
            return None

    def _oldest_use(self) -> datetime:
        """Returns the time since which a guest's cart must have been used to be kept."""
        return self._now() - GUEST_CART_LIFETIME
