"""Statements on products. A change locks its row first, several rows in the order of their ids; deleted rows stay, and are never shown."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money
from sqlalchemy import ARRAY, BigInteger, ColumnElement, Row, any_, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import CategoryId
from product_service.domain.errors import UnknownCategoryOfProduct, VariantExists
from product_service.domain.products import MAX_VARIANTS, Description, Listing, Product, Rating
from product_service.repository.tables import products
from product_service.repository.violations import broken_reference_is, duplicate_is

LIVE = products.c.deleted_at.is_(None)
SAID: tuple[ColumnElement[Any], ...] = (
    products.c.id,
    products.c.seller_id,
    products.c.category_id,
    products.c.name,
    products.c.description,
    products.c.price_amount,
    products.c.price_currency,
    products.c.images,
    products.c.group_id,
    products.c.options,
    products.c.created_at,
    products.c.updated_at,
)
"""What makes a product; the rest of the row is for finding it."""
LISTED: tuple[ColumnElement[Any], ...] = (
    *SAID,
    products.c.in_stock,
    products.c.rating_average,
    products.c.rating_count,
)


class ProductRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def find(self, product_id: ProductId) -> Product | None:
        """By primary key."""
        row = (await self._transaction.execute(select(*SAID).where(products.c.id == product_id, LIVE))).first()
        return None if row is None else product_of(row)

    async def find_all(self, product_ids: Sequence[ProductId]) -> list[Product]:
        """By primary key, in one statement whatever their number; unknown and deleted ones are left out."""
        one_of_them = products.c.id == any_(literal(product_ids, ARRAY(BigInteger)))
        rows = await self._transaction.execute(select(*SAID).where(one_of_them, LIVE))
        return [product_of(row) for row in rows]

    async def lock(self, product_id: ProductId) -> Product | None:
        """By primary key, its row locked."""
        return (await self._lock(products.c.id == product_id)).get(product_id)

    async def lock_with_group(
        self, product_id: ProductId | None, group_id: ProductId
    ) -> tuple[Product | None, list[Product]]:
        """A product; the group that it is to join: its members, and the product that the group is named for. All rows locked, in one
        statement and the order of their ids, so that nobody waits in a circle.
        """
        in_group = or_(products.c.id == group_id, products.c.group_id == group_id)
        locked = await self._lock(or_(in_group, products.c.id == (product_id or group_id)))
        group = [product for product in locked.values() if group_id in (product.id, product.group_id)]
        return None if product_id is None else locked.get(product_id), group

    async def size_of_group(self, group_id: ProductId) -> int:
        """How many members a group has, along variants_differ. Its rows must be locked, in a statement before this one: who joined
        while that one waited is counted here, and nobody joins from now on.
        """
        members = select(func.count()).where(products.c.group_id == group_id, LIVE)
        return await self._transaction.scalar(members) or 0

    async def variants(self, group_id: ProductId, besides: ProductId) -> list[Listing]:
        """The members of a group but for one, along variants_differ: the oldest MAX_VARIANTS, the oldest first."""
        wanted = select(*LISTED).where(products.c.group_id == group_id, products.c.id != besides, LIVE)
        oldest = wanted.order_by(products.c.id).limit(MAX_VARIANTS)
        return [listing_of(row) for row in await self._transaction.execute(oldest)]

    async def add(
        self,
        seller_id: UserId,
        said: Description,
        group_id: ProductId | None,
        options: Mapping[str, str],
        at: datetime,
    ) -> Product:
        """Raises UnknownCategoryOfProduct, by the foreign key; VariantExists, by the index on variants."""
        values = {**_columns(said), "group_id": group_id, "options": dict(options)}
        new = insert(products).values(**values, seller_id=seller_id, created_at=at, updated_at=at)
        with broken_reference_is(UnknownCategoryOfProduct(said.category_id)), _no_twin_in(group_id):
            return product_of((await self._transaction.execute(new.returning(*SAID))).one())

    async def revise(
        self,
        product_id: ProductId,
        said: Description,
        group_id: ProductId | None,
        options: Mapping[str, str],
        at: datetime,
    ) -> Product:
        """The row must be locked. Raises UnknownCategoryOfProduct, VariantExists."""
        values = {**_columns(said), "group_id": group_id, "options": dict(options)}
        revised = update(products).where(products.c.id == product_id).values(**values, updated_at=at)
        with broken_reference_is(UnknownCategoryOfProduct(said.category_id)), _no_twin_in(group_id):
            return product_of((await self._transaction.execute(revised.returning(*SAID))).one())

    async def found_group(self, product_id: ProductId, at: datetime) -> None:
        """Makes a product the first of the group that is named for it. The row must be locked."""
        founded = update(products).where(products.c.id == product_id).values(group_id=product_id, updated_at=at)
        with _no_twin_in(product_id):
            await self._transaction.execute(founded)

    async def delete(self, product_ids: Sequence[ProductId], at: datetime) -> None:
        """The rows must be locked; they stay, for the orders that name them, and keep their words while their seller has an account."""
        await self._transaction.execute(update(products).where(products.c.id.in_(product_ids)).values(deleted_at=at))

    async def silence(self, product_ids: Sequence[ProductId]) -> None:
        """Takes all words of deleted products. The rows must be locked; they stay, for the figures that name them."""
        wordless = update(products).values(name="", description="", images=[], options={})
        await self._transaction.execute(wordless.where(products.c.id.in_(product_ids)))

    async def _lock(self, which: Any) -> dict[ProductId, Product]:
        wanted = select(*SAID).where(which, LIVE).order_by(products.c.id).with_for_update()
        return {ProductId(row.id): product_of(row) for row in await self._transaction.execute(wanted)}


def product_of(row: Row[Any]) -> Product:
    return Product(
        id=ProductId(row.id),
        seller_id=UserId(row.seller_id),
        category_id=CategoryId(row.category_id),
        name=row.name,
        description=row.description,
        price=Money(row.price_amount, row.price_currency),
        images=tuple(row.images),
        created_at=row.created_at,
        updated_at=row.updated_at,
        group_id=None if row.group_id is None else ProductId(row.group_id),
        options=row.options,
    )


def listing_of(row: Row[Any]) -> Listing:
    return Listing(product_of(row), row.in_stock, Rating(row.rating_average, row.rating_count))


def _columns(said: Description) -> dict[str, object]:
    return {
        "name": said.name,
        "description": said.text,
        "price_amount": said.price.amount,
        "price_currency": said.price.currency,
        "category_id": said.category_id,
        "images": list(said.images),
    }


def _no_twin_in(group_id: ProductId | None) -> Any:
    return duplicate_is(VariantExists(group_id or ProductId(0)))
