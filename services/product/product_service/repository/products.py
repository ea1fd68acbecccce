"""Statements on products. A change locks its row first; deleted rows stay, and are never shown."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chassis.kernel.ids import ProductId, UserId
from chassis.kernel.money import Money
from sqlalchemy import ARRAY, BigInteger, ColumnElement, Row, any_, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import CategoryId
from product_service.domain.errors import UnknownCategoryOfProduct
from product_service.domain.products import Description, Product, Sort, Wanted
from product_service.repository.tables import products
from product_service.repository.violations import broken_reference_is

_LIVE = products.c.deleted_at.is_(None)
_ORDER: Mapping[Sort, tuple[ColumnElement[Any], ...]] = {
    Sort.NEWEST: (products.c.created_at.desc(), products.c.id.desc()),
    Sort.CHEAPEST: (products.c.price_amount, products.c.id),
    Sort.DEAREST: (products.c.price_amount.desc(), products.c.id.desc()),
    Sort.NAME: (func.lower(products.c.name), products.c.id),
}
"""Each is an index, read forwards or backwards; the id keeps pages from overlapping where the rest is equal."""


class ProductRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def find(self, product_id: ProductId) -> Product | None:
        """By primary key."""
        wanted = select(products).where(products.c.id == product_id, _LIVE)
        row = (await self._transaction.execute(wanted)).first()
        return None if row is None else _product(row)

    async def lock(self, product_id: ProductId) -> Product | None:
        """By primary key, its row locked."""
        wanted = select(products).where(products.c.id == product_id, _LIVE).with_for_update()
        row = (await self._transaction.execute(wanted)).first()
        return None if row is None else _product(row)

    async def find_all(self, product_ids: Sequence[ProductId]) -> list[Product]:
        """By primary key, in one statement whatever their number; unknown and deleted ones are left out."""
        one_of_them = products.c.id == any_(literal(product_ids, ARRAY(BigInteger)))
        rows = await self._transaction.execute(select(products).where(one_of_them, _LIVE))
        return [_product(row) for row in rows]

    async def page(self, wanted: Wanted, sort: Sort, offset: int, limit: int) -> tuple[Sequence[Product], int]:
        """One page, and how many there are in all."""
        matching = [_LIVE, *_conditions(wanted)]
        page = select(products).where(*matching).order_by(*_ORDER[sort]).offset(offset).limit(limit)
        rows = await self._transaction.execute(page)
        total = await self._transaction.scalar(select(func.count()).select_from(products).where(*matching))
        return [_product(row) for row in rows], total or 0

    async def add(self, seller_id: UserId, said: Description, at: datetime) -> Product:
        """Raises UnknownCategoryOfProduct, by the foreign key."""
        new = insert(products).values(**_columns(said), seller_id=seller_id, created_at=at, updated_at=at)
        with broken_reference_is(UnknownCategoryOfProduct(said.category_id)):
            return _product((await self._transaction.execute(new.returning(products))).one())

    async def revise(self, product_id: ProductId, said: Description, at: datetime) -> Product:
        """The row must be locked. Raises UnknownCategoryOfProduct."""
        with broken_reference_is(UnknownCategoryOfProduct(said.category_id)):
            revised = update(products).where(products.c.id == product_id).values(**_columns(said), updated_at=at)
            return _product((await self._transaction.execute(revised.returning(products))).one())

    async def delete(self, product_id: ProductId, at: datetime) -> None:
        """The row must be locked; it stays, for the orders that name it."""
        await self._transaction.execute(update(products).where(products.c.id == product_id).values(deleted_at=at))


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.category_id is not None:
        conditions.append(products.c.category_id == wanted.category_id)
    if wanted.text is not None:
        in_name = products.c.name.icontains(wanted.text, autoescape=True)
        conditions.append(or_(in_name, products.c.description.icontains(wanted.text, autoescape=True)))
    if wanted.min_price is not None:
        conditions.append(products.c.price_amount >= wanted.min_price)
    if wanted.max_price is not None:
        conditions.append(products.c.price_amount <= wanted.max_price)
    return conditions


def _columns(said: Description) -> dict[str, object]:
    return {
        "name": said.name,
        "description": said.text,
        "price_amount": said.price.amount,
        "price_currency": said.price.currency,
        "category_id": said.category_id,
        "images": list(said.images),
    }


def _product(row: Row[Any]) -> Product:
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
    )
