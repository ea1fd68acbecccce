"""The use cases of categories, one transaction each."""

from collections.abc import Sequence

from chassis.database import Database

from product_service.domain.categories import Category, CategoryId
from product_service.repository.categories import CategoryRepository


class Categories:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, offset: int, limit: int) -> tuple[Sequence[Category], int]:
        """By name; and how many there are in all."""
        async with self._database.begin() as transaction:
            return await CategoryRepository(transaction).page(offset, limit)

    async def add(self, name: str) -> Category:
        """Raises CategoryExists."""
        async with self._database.begin() as transaction:
            return await CategoryRepository(transaction).add(name)

    async def rename(self, category_id: CategoryId, name: str) -> Category:
        """Raises UnknownCategory, CategoryExists."""
        renamed = Category(category_id, name)
        async with self._database.begin() as transaction:
            await CategoryRepository(transaction).rename(renamed)
        return renamed

    async def remove(self, category_id: CategoryId) -> None:
        """Raises UnknownCategory, CategoryInUse."""
        async with self._database.begin() as transaction:
            await CategoryRepository(transaction).remove(category_id)
