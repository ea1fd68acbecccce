"""The use cases of categories, one transaction each."""

from collections.abc import Sequence

from chassis.database.engine import Database

from product_service.domain.categories import MAX_DEPTH, UNSET, Category, CategoryId, CategoryTree, Unset
from product_service.domain.errors import CategoryCycle, CategoryTooDeep, UnknownCategory
from product_service.repository.categories import CategoryRepository


class CategoryService:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_trees(self, offset: int, limit: int) -> tuple[Sequence[CategoryTree], int]:
        """Returns a page of category trees, sorted by the names of their roots; and the number of all roots."""
        async with self._database.begin() as transaction:
            return await CategoryRepository(transaction).list_trees(offset, limit)

    async def add(self, name: str, parent_id: CategoryId | None) -> Category:
        """Raises CategoryExists, UnknownParent, CategoryTooDeep."""
        async with self._database.begin() as transaction:
            repository = CategoryRepository(transaction)
            if parent_id is not None:
                await repository.lock_tree()
                await _ensure_depth(repository, parent_id, 1)
            return await repository.add(name, parent_id)

    async def revise(self, category_id: CategoryId, name: str, parent_id: CategoryId | Unset | None) -> Category:
        """Renames a category and, if a parent is given, moves it with all its descendants.

        Raises UnknownCategory, CategoryExists, UnknownParent, CategoryCycle, CategoryTooDeep.
        """
        async with self._database.begin() as transaction:
            repository = CategoryRepository(transaction)
            await repository.lock_tree()
            found = await repository.find(category_id)
            if found is None:
                raise UnknownCategory(category_id)
            revised = Category(category_id, name, found.parent_id if parent_id is UNSET else parent_id)
            if revised.parent_id is not None and revised.parent_id != found.parent_id:
                await _ensure_movable(repository, category_id, revised.parent_id)
            await repository.update(revised)
        return revised

    async def delete(self, category_id: CategoryId) -> None:
        """Raises UnknownCategory, CategoryInUse."""
        async with self._database.begin() as transaction:
            await CategoryRepository(transaction).delete(category_id)


async def _ensure_movable(repository: CategoryRepository, category_id: CategoryId, parent_id: CategoryId) -> None:
    """Raises CategoryCycle or CategoryTooDeep if a category cannot be moved there. The tree must be locked."""
    if parent_id in await repository.subtree(category_id):
        raise CategoryCycle(category_id, parent_id)
    await _ensure_depth(repository, parent_id, await repository.height(category_id))


async def _ensure_depth(repository: CategoryRepository, parent_id: CategoryId, height: int) -> None:
    """Raises CategoryTooDeep if a tree of this height has no room below the parent. The tree must be locked."""
    if await repository.depth(parent_id) + height > MAX_DEPTH:
        raise CategoryTooDeep(parent_id)
