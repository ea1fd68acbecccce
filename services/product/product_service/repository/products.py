"""Queries on products. Those of product pages and prices are prepared statements.

A change locks its row first, several rows in the order of their ids. Deleted rows are kept, but never shown.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from chassis.database.statements import Connection, Record, Statement
from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money
from sqlalchemy import ARRAY, BigInteger, ColumnElement, any_, bindparam, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import CategoryId
from product_service.domain.errors import UnknownCategoryOfProduct, VariantExists
from product_service.domain.products import MAX_VARIANTS, ListedProduct, Product, ProductContent, Rating
from product_service.domain.search_terms import SearchLanguage
from product_service.repository.tables import products, raise_on_duplicate, raise_on_missing_reference

NOT_DELETED = products.c.deleted_at.is_(None)
PRODUCT_COLUMNS: tuple[ColumnElement[Any], ...] = (
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
"""The columns of a Product; the others of the row serve lists and search."""
LISTED_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *PRODUCT_COLUMNS,
    products.c.in_stock,
    products.c.rating_average,
    products.c.rating_count,
)


def to_product(row: Record) -> Product:
    group_id = row["group_id"]
    return Product(
        id=row["id"],
        seller_id=row["seller_id"],
        category_id=row["category_id"],
        name=row["name"],
        description=row["description"],
        price=Money(row["price_amount"], row["price_currency"]),
        images=tuple(row["images"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        group_id=group_id,
        options=row["options"],
    )


def to_listed_product(row: Record) -> ListedProduct:
    return ListedProduct(to_product(row), row["in_stock"], Rating(row["rating_average"], row["rating_count"]))


_FIND = Statement(
    select(*PRODUCT_COLUMNS).where(products.c.id == bindparam("product_id"), NOT_DELETED),
    to_product,
)
_FIND_ALL = Statement(
    select(*PRODUCT_COLUMNS).where(
        products.c.id == any_(bindparam("product_ids", type_=ARRAY(BigInteger))), NOT_DELETED
    ),
    to_product,
)
_LIST_VARIANTS = Statement(
    select(*LISTED_COLUMNS)
    .where(products.c.group_id == bindparam("group_id"), products.c.id != bindparam("excluding"), NOT_DELETED)
    .order_by(products.c.id)
    .limit(MAX_VARIANTS),
    to_listed_product,
)


class DisplayedProductRepository:
    """Reads products without locks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, product_id: ProductId) -> Product | None:
        """Reads by primary key."""
        return await _FIND.first(self._connection, product_id=product_id)

    async def find_all(self, product_ids: Sequence[ProductId]) -> list[Product]:
        """Reads any number of products by primary key, in one statement. Unknown and deleted ones are left out."""
        return await _FIND_ALL.all(self._connection, product_ids=product_ids)

    async def list_variants(self, group_id: ProductId, excluding: ProductId) -> list[ListedProduct]:
        """Returns the oldest MAX_VARIANTS members of a group except one, by age, along the index variants_differ."""
        return await _LIST_VARIANTS.all(self._connection, group_id=group_id, excluding=excluding)


class ProductRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def lock(self, product_id: ProductId) -> Product | None:
        """Reads by primary key and locks the row."""
        return (await self._lock(products.c.id == product_id)).get(product_id)

    async def lock_with_group(
        self, product_id: ProductId | None, group_id: ProductId
    ) -> tuple[Product | None, list[Product]]:
        """Locks a product and the group that it is to join.

        The group consists of its members and the product whose id is the group's. One statement locks all rows in the
        order of their ids, which avoids deadlocks.
        """
        in_group = or_(products.c.id == group_id, products.c.group_id == group_id)
        locked = await self._lock(or_(in_group, products.c.id == (product_id or group_id)))
        group = [product for product in locked.values() if group_id in (product.id, product.group_id)]
        return None if product_id is None else locked.get(product_id), group

    async def count_variants(self, group_id: ProductId) -> int:
        """Returns the number of a group's members, along the index variants_differ.

        An earlier statement must have locked the group's rows: then this one counts a member that joined while the lock
        was awaited, and no other can join from now on.
        """
        members = select(func.count()).where(products.c.group_id == group_id, NOT_DELETED)
        return await self._transaction.scalar(members) or 0

    async def add(
        self,
        seller_id: UserId,
        content: ProductContent,
        group_id: ProductId | None,
        options: Mapping[str, str],
        language: SearchLanguage,
        at: datetime,
    ) -> Product:
        """Raises UnknownCategoryOfProduct, by the foreign key; VariantExists, by the index variants_differ."""
        values = {**_columns(content), "group_id": group_id, "options": dict(options), "search_language": language}
        new = insert(products).values(**values, seller_id=seller_id, created_at=at, updated_at=at)
        with _raise_on_unknown_category(content.category_id), _raise_on_equal_options(group_id):
            added = await self._transaction.execute(new.returning(*PRODUCT_COLUMNS))
            return to_product(added.mappings().one())

    async def revise(
        self,
        product_id: ProductId,
        content: ProductContent,
        group_id: ProductId | None,
        options: Mapping[str, str],
        at: datetime,
    ) -> Product:
        """Replaces the content. The row must be locked. Raises UnknownCategoryOfProduct, VariantExists."""
        values = {**_columns(content), "group_id": group_id, "options": dict(options)}
        revised = update(products).where(products.c.id == product_id).values(**values, updated_at=at)
        with _raise_on_unknown_category(content.category_id), _raise_on_equal_options(group_id):
            changed = await self._transaction.execute(revised.returning(*PRODUCT_COLUMNS))
            return to_product(changed.mappings().one())

    async def start_group(self, product_id: ProductId, at: datetime) -> None:
        """Makes a product the first member of the group with its id. The row must be locked. Raises VariantExists."""
        started = update(products).where(products.c.id == product_id).values(group_id=product_id, updated_at=at)
        with _raise_on_equal_options(product_id):
            await self._transaction.execute(started)

    async def delete(self, product_ids: Sequence[ProductId], at: datetime) -> None:
        """Marks products as deleted. The rows must be locked.

        They are kept for the orders that refer to them, and keep their texts as long as their seller has an account.
        """
        await self._transaction.execute(update(products).where(products.c.id.in_(product_ids)).values(deleted_at=at))

    async def redact(self, product_ids: Sequence[ProductId]) -> None:
        """Removes all texts of deleted products. The rows must be locked; they are kept for the statistics."""
        redacted = update(products).values(name="", description="", images=[], options={})
        await self._transaction.execute(redacted.where(products.c.id.in_(product_ids)))

    async def _lock(self, condition: ColumnElement[bool]) -> dict[ProductId, Product]:
        query = select(*PRODUCT_COLUMNS).where(condition, NOT_DELETED).order_by(products.c.id).with_for_update()
        locked = map(to_product, (await self._transaction.execute(query)).mappings())
        return {product.id: product for product in locked}


def _columns(content: ProductContent) -> dict[str, object]:
    return {
        "name": content.name,
        "description": content.description,
        "price_amount": content.price.amount,
        "price_currency": content.price.currency,
        "category_id": content.category_id,
        "images": list(content.images),
    }


def _raise_on_unknown_category(category_id: CategoryId) -> AbstractContextManager[None]:
    return raise_on_missing_reference(UnknownCategoryOfProduct(category_id))


def _raise_on_equal_options(group_id: ProductId | None) -> AbstractContextManager[None]:
    return raise_on_duplicate(VariantExists(group_id or ProductId(0)))
