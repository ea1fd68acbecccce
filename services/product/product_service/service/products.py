"""The use cases of products, one transaction each. The cache learns of a change once it is committed."""

from collections.abc import Callable, Sequence
from datetime import datetime

from chassis.database import Database
from chassis.kernel.ids import ProductId, UserId
from chassis.tokens import Principal

from product_service.domain.errors import NotTheSeller, UnknownProduct
from product_service.domain.products import Description, Product, Sort, Wanted
from product_service.repository.cache import ProductCache
from product_service.repository.products import ProductRepository


class Products:
    def __init__(self, database: Database, cache: ProductCache, now: Callable[[], datetime]) -> None:
        self._database = database
        self._cache = cache
        self._now = now

    async def page(self, wanted: Wanted, sort: Sort, offset: int, limit: int) -> tuple[Sequence[Product], int]:
        """One page, and how many there are in all."""
        async with self._database.begin() as transaction:
            return await ProductRepository(transaction).page(wanted, sort, offset, limit)

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

    async def add(self, seller: Principal, said: Description) -> Product:
        """Raises UnknownCategoryOfProduct."""
        async with self._database.begin() as transaction:
            return await ProductRepository(transaction).add(seller.user_id, said, self._now())

    async def revise(self, principal: Principal, product_id: ProductId, said: Description) -> Product:
        """Replaces all that is said of a product. Raises UnknownProduct, NotTheSeller, UnknownCategoryOfProduct."""
        async with self._database.begin() as transaction:
            repository = ProductRepository(transaction)
            await self._lock_own(repository, principal, product_id)
            revised = await repository.revise(product_id, said, self._now())
        await self._cache.forget(product_id)
        return revised

    async def delete(self, principal: Principal, product_id: ProductId) -> None:
        """Raises UnknownProduct, NotTheSeller."""
        async with self._database.begin() as transaction:
            repository = ProductRepository(transaction)
            await self._lock_own(repository, principal, product_id)
            await repository.delete(product_id, self._now())
        await self._cache.forget(product_id)

    async def _stored(self, product_id: ProductId) -> Product:
        """Raises UnknownProduct."""
        async with self._database.begin() as transaction:
            product = await ProductRepository(transaction).find(product_id)
        if product is None:
            raise UnknownProduct(product_id)
        return product

    async def _lock_own(self, repository: ProductRepository, principal: Principal, product_id: ProductId) -> None:
        product = await repository.lock(product_id)
        if product is None:
            raise UnknownProduct(product_id)
        if product.seller_id != principal.user_id and not principal.is_admin:
            raise NotTheSeller(product_id)
