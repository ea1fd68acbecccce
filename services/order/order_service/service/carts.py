"""The use cases of carts. Whoever edits one at the same time waits for its lock, so that nothing is lost."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database.engine import Database
from chassis.errors import NeighbourRefused, NeighbourUnavailable
from chassis.observability import logs
from chassis.types.ids import ProductId, UserId
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.clients.inventory import Inventory
from order_service.clients.products import Products
from order_service.domain.carts import GUEST_CART_KEPT, MAX_LINES, Cart, CartId, CartToken, fitting, priced
from order_service.domain.errors import AccountErased, CartFull, UnknownProducts
from order_service.domain.orders import Line
from order_service.repository.buyers import BuyerRepository
from order_service.repository.carts import CartRepository

_TOUCHED_EVERY = timedelta(hours=1)
"""How often looking at a guest's cart is written down."""

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shopper:
    """Whose cart it is: a buyer's, or else that of a guest, by their token if they have one."""

    buyer_id: UserId | None
    token: CartToken | None = None


class Carts:
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

    async def look(self, shopper: Shopper) -> Cart:
        """What is in it, as the shop would sell it now. Nobody's cart is empty."""
        async with self._database.begin() as transaction:
            repository = CartRepository(transaction)
            cart_id = await self._find(repository, shopper)
            lines = [] if cart_id is None else await repository.lines(cart_id)
        return await self._priced(lines)

    async def add(self, shopper: Shopper, line: Line) -> Cart:
        """Quantities add. Raises UnknownProducts, CartFull, AccountErased."""
        return await self._edit(shopper, line, CartRepository.add)

    async def put(self, shopper: Shopper, line: Line) -> Cart:
        """Sets a line's quantity. Raises UnknownProducts, CartFull, AccountErased."""
        return await self._edit(shopper, line, CartRepository.put)

    async def take_out(self, shopper: Shopper, product_id: ProductId) -> None:
        """What is not in it is taken out already."""
        async with self._database.begin() as transaction:
            repository = CartRepository(transaction)
            cart_id = await self._lock(repository, shopper)
            if cart_id is not None:
                await repository.take_out(cart_id, product_id)

    async def empty(self, shopper: Shopper) -> None:
        async with self._database.begin() as transaction:
            repository = CartRepository(transaction)
            cart_id = await self._lock(repository, shopper)
            if cart_id is not None:
                await repository.empty(cart_id)

    async def merge(self, buyer_id: UserId, token: CartToken) -> None:
        """What was put into a cart before logging in goes into the buyer's own; the guest's cart is gone. Once,
        however often it is asked for.
        """
        async with self._database.begin() as transaction:
            repository = CartRepository(transaction)
            guests = await repository.lock_of_guest(token, self._still_kept())
            if guests is None or not await BuyerRepository(transaction).lock(buyer_id):
                return
            own = await repository.ensure_of_buyer(buyer_id, self._new_id(), self._now())
            coming = fitting(await repository.lines(own), await repository.lines(guests))
            if coming:
                await repository.add(own, coming)
            await repository.remove(guests)
        log.info("guest cart merged", lines=len(coming))

    async def forget_untouched(self) -> None:
        async with self._database.begin() as transaction:
            await CartRepository(transaction).remove_untouched(self._still_kept())

    async def _edit(
        self,
        shopper: Shopper,
        line: Line,
        edit: Callable[[CartRepository, CartId, Sequence[Line]], Awaitable[None]],
    ) -> Cart:
        if line.product_id not in await self._products.offers([line.product_id]):
            raise UnknownProducts([line.product_id])
        async with self._database.begin() as transaction:
            repository = CartRepository(transaction)
            cart_id, new_token = await self._ensure(transaction, shopper)
            await edit(repository, cart_id, [line])
            lines = await repository.lines(cart_id)
            if len(lines) > MAX_LINES:
                raise CartFull(MAX_LINES)
        return replace(await self._priced(lines), cart_token=new_token)

    async def _ensure(self, transaction: AsyncConnection, shopper: Shopper) -> tuple[CartId, CartToken | None]:
        """The shopper's cart, locked, and the token of a guest's new one."""
        repository, now = CartRepository(transaction), self._now()
        if shopper.buyer_id is not None:
            if not await BuyerRepository(transaction).lock(shopper.buyer_id):
                raise AccountErased(shopper.buyer_id)
            return await repository.ensure_of_buyer(shopper.buyer_id, self._new_id(), now), None
        held = await self._lock(repository, shopper)
        if held is not None:
            await repository.touch(held, now, unless_since=now)
            return held, None
        token = self._new_token()
        return await repository.add_of_guest(token, self._new_id(), now), token

    async def _find(self, repository: CartRepository, shopper: Shopper) -> CartId | None:
        if shopper.buyer_id is not None:
            return await repository.of_buyer(shopper.buyer_id)
        if shopper.token is None:
            return None
        found = await repository.of_guest(shopper.token, self._still_kept())
        if found is not None:
            await repository.touch(found, self._now(), unless_since=self._now() - _TOUCHED_EVERY)
        return found

    async def _lock(self, repository: CartRepository, shopper: Shopper) -> CartId | None:
        if shopper.buyer_id is not None:
            return await repository.lock_of_buyer(shopper.buyer_id)
        return None if shopper.token is None else await repository.lock_of_guest(shopper.token, self._still_kept())

    async def _priced(self, lines: Sequence[Line]) -> Cart:
        if not lines:
            return Cart(())
        offers = await self._products.offers([line.product_id for line in lines])
        return Cart(priced(lines, offers, await self._stock(list(offers))))

    async def _stock(self, product_ids: Sequence[ProductId]) -> dict[ProductId, int] | None:
        """What is available of each; None where inventory does not answer: a cart is worth showing without."""
        try:
            return await self._inventory.available(product_ids)
        except (NeighbourUnavailable, NeighbourRefused):
            return None

    def _still_kept(self) -> datetime:
        return self._now() - GUEST_CART_KEPT
