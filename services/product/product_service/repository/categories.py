"""Statements on categories. Who changes the shape of the tree waits for whoever else does: moves are rare, and a cycle is for ever."""

from typing import Any

from sqlalchemy import Row, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import Branch, Category, CategoryId, branches
from product_service.domain.errors import CategoryExists, CategoryInUse, UnknownCategory, UnknownParent
from product_service.repository.tables import categories, products
from product_service.repository.violations import broken_reference_is, duplicate_is

_TREE_LOCK = 0x74_72_65_65  # any number that nothing else in this database locks


class CategoryRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def page(self, offset: int, limit: int) -> tuple[list[Branch], int]:
        """Trees, by the names of their roots; and how many there are in all."""
        by_name = func.lower(categories.c.name), categories.c.id
        roots_only = categories.c.parent_id.is_(None)
        wanted = select(categories).where(roots_only).order_by(*by_name).offset(offset).limit(limit)
        roots = [_category(row) for row in await self._transaction.execute(wanted)]
        below = await self._transaction.execute(_BELOW, {"roots": [root.id for root in roots]})
        total = await self._transaction.scalar(select(func.count()).select_from(categories).where(roots_only))
        return branches(roots, [_category(row) for row in below]), total or 0

    async def all(self) -> list[Category]:
        """Every category there is, in no order."""
        return [_category(row) for row in await self._transaction.execute(select(categories))]

    async def subtree(self, category_id: CategoryId) -> list[CategoryId]:
        """A category and all that are below it; none where there is no such category."""
        return [CategoryId(found) for found in await self._transaction.scalars(_SUBTREE, {"category_id": category_id})]

    async def lock_tree(self) -> None:
        """Until the end of the transaction nobody else moves a category."""
        await self._transaction.execute(select(func.pg_advisory_xact_lock(_TREE_LOCK)))

    async def find(self, category_id: CategoryId) -> Category | None:
        """By primary key."""
        row = (await self._transaction.execute(select(categories).where(categories.c.id == category_id))).first()
        return None if row is None else _category(row)

    async def depth(self, category_id: CategoryId) -> int:
        """How many levels there are from the root down to a category, itself among them; 0 where there is no such category."""
        return await self._transaction.scalar(_DEPTH, {"category_id": category_id}) or 0

    async def height(self, category_id: CategoryId) -> int:
        """How many levels a category's tree has, itself among them."""
        return await self._transaction.scalar(_HEIGHT, {"category_id": category_id}) or 0

    async def add(self, name: str, parent_id: CategoryId | None) -> Category:
        """Raises CategoryExists, by the index on names; UnknownParent, by the foreign key."""
        new = insert(categories).values(name=name, parent_id=parent_id).returning(categories)
        with duplicate_is(CategoryExists(name)), broken_reference_is(UnknownParent(parent_id or CategoryId(0))):
            return _category((await self._transaction.execute(new)).one())

    async def store(self, category: Category) -> None:
        """Raises CategoryExists, UnknownParent."""
        stored = update(categories).where(categories.c.id == category.id)
        new = stored.values(name=category.name, parent_id=category.parent_id)
        parent_id = category.parent_id or CategoryId(0)
        with duplicate_is(CategoryExists(category.name)), broken_reference_is(UnknownParent(parent_id)):
            await self._transaction.execute(new)

    async def remove(self, category_id: CategoryId) -> None:
        """Raises UnknownCategory, CategoryInUse. A product or category that is put here meanwhile holds its row, and wins. Deleted
        products leave the category first.
        """
        deleted_products = products.c.category_id == category_id, products.c.deleted_at.is_not(None)
        await self._transaction.execute(update(products).where(*deleted_products).values(category_id=None))
        removed = delete(categories).where(categories.c.id == category_id).returning(categories.c.id)
        with broken_reference_is(CategoryInUse(category_id)):
            found = await self._transaction.execute(removed)
        if found.first() is None:
            raise UnknownCategory(category_id)


def _category(row: Row[Any]) -> Category:
    return Category(CategoryId(row.id), row.name, None if row.parent_id is None else CategoryId(row.parent_id))


_BELOW = text("""
    WITH RECURSIVE below AS (
        SELECT * FROM categories WHERE parent_id = ANY(:roots)
        UNION
        SELECT categories.* FROM categories JOIN below ON categories.parent_id = below.id
    )
    SELECT id, name, parent_id FROM below ORDER BY lower(name), id
""")
_SUBTREE = text("""
    WITH RECURSIVE subtree AS (
        SELECT id FROM categories WHERE id = :category_id
        UNION
        SELECT categories.id FROM categories JOIN subtree ON categories.parent_id = subtree.id
    )
    SELECT id FROM subtree
""")
_DEPTH = text("""
    WITH RECURSIVE above AS (
        SELECT id, parent_id FROM categories WHERE id = :category_id
        UNION
        SELECT categories.id, categories.parent_id FROM categories JOIN above ON categories.id = above.parent_id
    )
    SELECT count(*) FROM above
""")
_HEIGHT = text("""
    WITH RECURSIVE below AS (
        SELECT id, 1 AS level FROM categories WHERE id = :category_id
        UNION ALL
        SELECT categories.id, level + 1 FROM categories JOIN below ON categories.parent_id = below.id WHERE level < 100
    )
    SELECT max(level) FROM below
""")
"""All go along categories_by_parent or the primary key. There are no cycles; UNION, or the bound, would end one all the same."""
