"""The use cases of single products. Each change is one transaction.

Each change publishes product.changed. The cache evicts a changed product at once after the commit, and again when that
event arrives, in case this process dies between the commit and the eviction.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from chassis.database.engine import Database
from chassis.http.authentication import Principal
from chassis.types.ids import ProductId, UserId

from product_service.domain.categories import UNSET, Unset
from product_service.domain.errors import (
    CurrencyNotOffered,
    NotTheSeller,
    TooManyVariants,
    UnknownGroup,
    UnknownProduct,
)
from product_service.domain.products import MAX_VARIANTS, ListedProduct, Product, ProductContent
from product_service.domain.search_terms import SearchLanguage
from product_service.repository.cache import ProductCache
from product_service.repository.products import DisplayedProductRepository, ProductRepository
from product_service.service.published_events import PublishedEvents


class ProductService:
    def __init__(
        self,
        database: Database,
        events: PublishedEvents,
        cache: ProductCache,
        currencies: Collection[str],
        language: SearchLanguage,
        now: Callable[[], datetime],
    ) -> None:
        """`currencies` are those in which the shop sells."""
        self._database = database
        self._language = language
        self._events = events
        self._cache = cache
        self._currencies = currencies
        self._now = now

    async def get(self, product_id: ProductId) -> Product:
        """Returns a product for display, from the cache if possible. Raises UnknownProduct."""
        return await self._cache.find(product_id, lambda: self._read(product_id))

    async def get_prices(self, product_ids: Sequence[ProductId]) -> Sequence[Product]:
        """Returns products for charging, as they are stored now. Unknown products are left out."""
        async with self._database.read() as connection:
            return await DisplayedProductRepository(connection).find_all(product_ids)

    async def get_seller_id(self, product_id: ProductId) -> UserId:
        """Raises UnknownProduct."""
        return (await self._read(product_id)).seller_id

    async def get_variants(self, product: Product) -> Sequence[ListedProduct]:
        """Returns the other members of a product's group, the oldest first."""
        if product.group_id is None:
            return []
        async with self._database.read() as connection:
            return await DisplayedProductRepository(connection).list_variants(product.group_id, excluding=product.id)

    async def add(self, seller: Principal, content: ProductContent) -> Product:
        """Adds a product.

        Raises CurrencyNotOffered, UnknownCategoryOfProduct, UnknownGroup, TooManyVariants, VariantExists.
        """
        self._check_currency(content)
        group_id = None if content.group_id is UNSET else content.group_id
        options: Mapping[str, str] = {} if content.options is UNSET else content.options
        async with self._database.begin() as transaction:
            repository = ProductRepository(transaction)
            head = None
            if group_id is not None:
                _, group = await repository.lock_with_group(None, group_id)
                head = find_new_head(group_id, group, seller.user_id)
                await _ensure_capacity(repository, group_id)
            if head is not None:
                await repository.start_group(head, self._now())
            added = await repository.add(seller.user_id, content, group_id, options, self._language, self._now())
            await self._events.record_product_changed(transaction, [added.id, *([head] if head else [])])
        await self.after_commit(head)
        return added

    async def revise(self, principal: Principal, product_id: ProductId, content: ProductContent) -> Product:
        """Replaces the content of a product.

        Raises CurrencyNotOffered, UnknownProduct, NotTheSeller, UnknownCategoryOfProduct, UnknownGroup,
        TooManyVariants, VariantExists.
        """
        self._check_currency(content)
        async with self._database.begin() as transaction:
            repository = ProductRepository(transaction)
            product, group_id, head = await _lock_for_revision(repository, principal, product_id, content.group_id)
            if head is not None and head != product_id:
                await repository.start_group(head, self._now())
            options = product.options if content.options is UNSET else content.options
            revised = await repository.revise(product_id, content, group_id, options, self._now())
            await self._events.record_product_changed(transaction, sorted({product_id, head or product_id}))
        await self.after_commit(product_id, head)
        return revised

    async def delete(self, principal: Principal, product_id: ProductId) -> None:
        """Raises UnknownProduct, NotTheSeller."""
        async with self._database.begin() as transaction:
            repository = ProductRepository(transaction)
            _ensure_owned(await repository.lock(product_id), product_id, principal)
            await repository.delete([product_id], self._now())
            await self._events.record_product_changed(transaction, [product_id])
        await self.after_commit(product_id)

    async def after_commit(self, *changed: ProductId | None) -> None:
        """Publishes recorded events and evicts the changed products. Without this call both happen too, but later."""
        for product_id in changed:
            if product_id is not None:
                await self._cache.evict(product_id)

    async def _read(self, product_id: ProductId) -> Product:
        """Reads a product from the database. Raises UnknownProduct."""
        async with self._database.read() as connection:
            product = await DisplayedProductRepository(connection).find(product_id)
        if product is None:
            raise UnknownProduct(product_id)
        return product

    def _check_currency(self, content: ProductContent) -> None:
        """Raises CurrencyNotOffered."""
        if content.price.currency not in self._currencies:
            raise CurrencyNotOffered(content.price.currency, self._currencies)


def find_new_head(group_id: ProductId, group: Sequence[Product], seller_id: UserId) -> ProductId | None:
    """Returns the product that becomes the first member of its group when another joins it, None if the group exists.

    `group` has the members of the group and the product whose id is the group's. Raises UnknownGroup, also if any of
    them belongs to another seller.
    """
    if not group or any(product.seller_id != seller_id for product in group):
        raise UnknownGroup(group_id)
    if any(product.group_id == group_id for product in group):
        return None
    if any(product.group_id is not None for product in group):
        raise UnknownGroup(group_id)  # the product is a member of another group, which has its own id
    return group_id


async def _lock_for_revision(
    repository: ProductRepository, principal: Principal, product_id: ProductId, requested: ProductId | Unset | None
) -> tuple[Product, ProductId | None, ProductId | None]:
    """Locks a product, and the group that the request moves it to.

    Returns the product, its group after the revision, and the product that becomes the head of that group, if any.
    Raises UnknownProduct, NotTheSeller, UnknownGroup, TooManyVariants.
    """
    if requested is UNSET or requested is None:
        product = _ensure_owned(await repository.lock(product_id), product_id, principal)
        return product, product.group_id if requested is UNSET else None, None
    found, group = await repository.lock_with_group(product_id, requested)
    product = _ensure_owned(found, product_id, principal)
    head = find_new_head(requested, group, product.seller_id)
    if product.group_id != requested:
        await _ensure_capacity(repository, requested)
    return product, requested, head


async def _ensure_capacity(repository: ProductRepository, group_id: ProductId) -> None:
    """Raises TooManyVariants if a group has no room for another member. The group's rows must be locked."""
    if await repository.count_variants(group_id) >= MAX_VARIANTS:
        raise TooManyVariants(group_id)


def _ensure_owned(product: Product | None, product_id: ProductId, principal: Principal) -> Product:
    """Returns the product if the principal may change it. Raises UnknownProduct, NotTheSeller."""
    if product is None:
        raise UnknownProduct(product_id)
    if product.seller_id != principal.user_id and not principal.is_admin:
        raise NotTheSeller(product_id)
    return product
