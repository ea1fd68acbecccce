"""The use cases of categories, one transaction each."""

from collections.abc import Sequence

from chassis.database.engine import Database

from product_service.domain.categories import MAX_DEPTH, UNSAID, Branch, Category, CategoryId, Unsaid
from product_service.domain.errors import CategoryCycle, CategoryTooDeep, UnknownCategory
from product_service.repository.categories import CategoryRepository


class Categories:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, offset: int, limit: int) -> tuple[Sequence[Branch], int]:
        """Trees, by the names of their roots; and how many there are in all."""
        async with self._database.begin() as transaction:
            return await CategoryRepository(transaction).page(offset, limit)

    async def add(self, name: str, parent_id: CategoryId | None) -> Category:
        """Raises CategoryExists, UnknownParent, CategoryTooDeep."""
        async with self._database.begin() as transaction:
            repository = CategoryRepository(transaction)
            if parent_id is not None:
                await repository.lock_tree()
                await _ensure_depth(repository, parent_id, 1)
            return await repository.add(name, parent_id)

    async def revise(self, category_id: CategoryId, name: str, parent_id: CategoryId | Unsaid | None) -> Category:
        """Renames a category, and moves it with all that is below it where a parent is said. Raises UnknownCategory, CategoryExists,
        UnknownParent, CategoryCycle, CategoryTooDeep.
        """
        async with self._database.begin() as transaction:
            repository = CategoryRepository(transaction)
            await repository.lock_tree()
            found = await repository.find(category_id)
            if found is None:
                raise UnknownCategory(category_id)
            revised = Category(category_id, name, found.parent_id if parent_id is UNSAID else parent_id)
            if revised.parent_id is not None and revised.parent_id != found.parent_id:
                await _ensure_place(repository, category_id, revised.parent_id)
            await repository.store(revised)
        return revised

    async def remove(self, category_id: CategoryId) -> None:
        """Raises UnknownCategory, CategoryInUse."""
        async with self._database.begin() as transaction:
            await CategoryRepository(transaction).remove(category_id)


async def _ensure_place(repository: CategoryRepository, category_id: CategoryId, parent_id: CategoryId) -> None:
    """The tree must be locked. Raises CategoryCycle, CategoryTooDeep."""
    if parent_id in await repository.subtree(category_id):
        raise CategoryCycle(category_id, parent_id)
    await _ensure_depth(repository, parent_id, await repository.height(category_id))


async def _ensure_depth(repository: CategoryRepository, parent_id: CategoryId, height: int) -> None:
    """The tree must be locked. Raises CategoryTooDeep."""
    if await repository.depth(parent_id) + height > MAX_DEPTH:
        raise CategoryTooDeep(parent_id)
