"""Statements on categories."""

from collections.abc import Sequence

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import Category, CategoryId
from product_service.domain.errors import CategoryExists, CategoryInUse, UnknownCategory
from product_service.repository.tables import categories, products
from product_service.repository.violations import broken_reference_is, duplicate_is


class CategoryRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def page(self, offset: int, limit: int) -> tuple[Sequence[Category], int]:
        """By name; and how many there are in all."""
        wanted = select(categories).order_by(func.lower(categories.c.name)).offset(offset).limit(limit)
        rows = await self._transaction.execute(wanted)
        total = await self._transaction.scalar(select(func.count()).select_from(categories))
        return [_category(row) for row in rows], total or 0

    async def add(self, name: str) -> Category:
        """Raises CategoryExists, by the index on names."""
        with duplicate_is(CategoryExists(name)):
            added = await self._transaction.execute(insert(categories).values(name=name).returning(categories))
        return _category(added.one())

    async def rename(self, category: Category) -> None:
        """Raises UnknownCategory, CategoryExists."""
        renamed = update(categories).where(categories.c.id == category.id).values(name=category.name)
        with duplicate_is(CategoryExists(category.name)):
            found = await self._transaction.execute(renamed.returning(categories.c.id))
        if found.first() is None:
            raise UnknownCategory(category.id)

    async def remove(self, category_id: CategoryId) -> None:
        """Raises UnknownCategory, CategoryInUse. A product that is put here meanwhile holds its row, and wins. Deleted products
        leave the category first.
        """
        deleted_products = products.c.category_id == category_id, products.c.deleted_at.is_not(None)
        await self._transaction.execute(update(products).where(*deleted_products).values(category_id=None))
        removed = delete(categories).where(categories.c.id == category_id).returning(categories.c.id)
        with broken_reference_is(CategoryInUse(category_id)):
            found = await self._transaction.execute(removed)
        if found.first() is None:
            raise UnknownCategory(category_id)


def _category(row: Row[tuple[int, str]]) -> Category:
    return Category(CategoryId(row.id), row.name)
