"""The use cases of single products, one transaction each. Whoever wants to know of a change hears product.changed; the cache learns of
it at once as well, and again by that event, in case that this process does not live to tell it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from chassis.database.engine import Database
from chassis.grpc.wire import timestamp
from chassis.http.authentication import Principal
from chassis.messaging.outbox import Outbox
from chassis.types.ids import ProductId, UserId
from shopapi.events.v1.events_pb2 import ProductChanged
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import UNSAID
from product_service.domain.errors import NotTheSeller, TooManyVariants, UnknownGroup, UnknownProduct
from product_service.domain.products import MAX_VARIANTS, Description, Listing, Product
from product_service.repository.cache import ProductCache
from product_service.repository.products import ProductRepository


class Products:
    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        cache: ProductCache,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._cache = cache
        self._now = now
        self._new_id = new_id

    async def product(self, product_id: ProductId) -> Product:
        """For showing: from the cache where it can be. Raises UnknownProduct."""
        return await self._cache.find(product_id, lambda: self._stored(product_id))

    async def prices(self, product_ids: Sequence[ProductId]) -> Sequence[Product]:
        """For charging: as they are stored now. Unknown products are left out."""
        async with self._database.begin() as transaction:
            return await ProductRepository(transaction).find_all(product_ids)

    async def seller_of(self, product_id: ProductId) -> UserId:
        """Raises UnknownProduct."""
        return (await self._stored(product_id)).seller_id

    async def variants(self, product: Product) -> Sequence[Listing]:
        """The other members of a product's group, the oldest first."""
        if product.group_id is None:
            return []
        async with self._database.begin() as transaction:
            return await ProductRepository(transaction).variants(product.group_id, besides=product.id)

    async def add(self, seller: Principal, said: Description) -> Product:
        """Raises UnknownCategoryOfProduct, UnknownGroup, TooManyVariants, VariantExists."""
        group_id = None if said.group_id is UNSAID else said.group_id
        options: Mapping[str, str] = {} if said.options is UNSAID else said.options
        async with self._database.begin() as transaction:
            repository = ProductRepository(transaction)
            founder = None
            if group_id is not None:
                _, group = await repository.lock_with_group(None, group_id)
                founder = founder_of(group_id, group, seller.user_id)
                await _make_sure_of_room(repository, group_id)
            if founder is not None:
                await repository.found_group(founder, self._now())
            added = await repository.add(seller.user_id, said, group_id, options, self._now())
            await self.tell_within(transaction, [added.id, *([founder] if founder else [])])
        await self.after(founder)
        return added

    async def revise(self, principal: Principal, product_id: ProductId, said: Description) -> Product:
        """Replaces all that is said of a product. Raises UnknownProduct, NotTheSeller, UnknownCategoryOfProduct, UnknownGroup,
        TooManyVariants, VariantExists.
        """
        async with self._database.begin() as transaction:
            repository = ProductRepository(transaction)
            founder = None
            if said.group_id is UNSAID or said.group_id is None:
                product = _own(await repository.lock(product_id), product_id, principal)
                group_id = product.group_id if said.group_id is UNSAID else None
            else:
                group_id = said.group_id
                found, group = await repository.lock_with_group(product_id, group_id)
                product = _own(found, product_id, principal)
                founder = founder_of(group_id, group, product.seller_id)
                if product.group_id != group_id:
                    await _make_sure_of_room(repository, group_id)
            if founder is not None and founder != product_id:
                await repository.found_group(founder, self._now())
            options = product.options if said.options is UNSAID else said.options
            revised = await repository.revise(product_id, said, group_id, options, self._now())
            await self.tell_within(transaction, sorted({product_id, founder or product_id}))
        await self.after(product_id, founder)
        return revised

    async def delete(self, principal: Principal, product_id: ProductId) -> None:
        """Raises UnknownProduct, NotTheSeller."""
        async with self._database.begin() as transaction:
            repository = ProductRepository(transaction)
            _own(await repository.lock(product_id), product_id, principal)
            await repository.delete([product_id], self._now())
            await self.tell_within(transaction, [product_id])
        await self.after(product_id)

    async def tell_within(self, transaction: AsyncConnection, product_ids: Sequence[ProductId]) -> None:
        """Says with the transaction that these products are not as they were."""
        now = self._now()
        for product_id in product_ids:
            changed = ProductChanged(product_id=product_id, changed_at=timestamp(now))
            await self._outbox.record(transaction, self._new_id(), str(product_id), changed, now)

    async def forget(self, product_id: ProductId) -> None:
        """Nobody finds it in the cache as it was."""
        await self._cache.forget(product_id)

    async def after(self, *changed: ProductId | None) -> None:
        """What follows a commit. All of it happens without this, too, but later."""
        self._outbox.wake()
        for product_id in changed:
            if product_id is not None:
                await self._cache.forget(product_id)

    async def _stored(self, product_id: ProductId) -> Product:
        """Raises UnknownProduct."""
        async with self._database.begin() as transaction:
            product = await ProductRepository(transaction).find(product_id)
        if product is None:
            raise UnknownProduct(product_id)
        return product


def founder_of(group_id: ProductId, group: Sequence[Product], seller_id: UserId) -> ProductId | None:
    """The product that becomes the first of its group when another joins; None where there is a group already. `group` has the group's
    members and the product it is named for. Raises UnknownGroup, also for what somebody else sells.
    """
    if not group or any(product.seller_id != seller_id for product in group):
        raise UnknownGroup(group_id)
    if any(product.group_id == group_id for product in group):
        return None
    if any(product.group_id is not None for product in group):
        raise UnknownGroup(group_id)  # it is in another group, which has a name of its own
    return group_id


async def _make_sure_of_room(repository: ProductRepository, group_id: ProductId) -> None:
    """For one more member of a group, whose rows must be locked. Raises TooManyVariants."""
    if await repository.size_of_group(group_id) >= MAX_VARIANTS:
        raise TooManyVariants(group_id)


def _own(product: Product | None, product_id: ProductId, principal: Principal) -> Product:
    """Raises UnknownProduct, NotTheSeller."""
    if product is None:
        raise UnknownProduct(product_id)
    if product.seller_id != principal.user_id and not principal.is_admin:
        raise NotTheSeller(product_id)
    return product
