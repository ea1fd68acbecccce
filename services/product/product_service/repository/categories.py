"""Queries on categories. Changes of the tree's shape are serialized: moves are rare, and a cycle would be permanent."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chassis.database.statements import Connection, Statement
from sqlalchemy import BigInteger, Row, bindparam, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import Category, CategoryId, CategoryTree, build_trees
from product_service.domain.errors import CategoryExists, CategoryInUse, UnknownCategory, UnknownParent
from product_service.repository.tables import (
    BY_PEOPLE,
    categories,
    products,
    raise_on_duplicate,
    raise_on_missing_reference,
)

_TREE_LOCK = 0x74_72_65_65  # an arbitrary number, unique among the advisory locks of this database


_SUBTREE = Statement(
    text("""
        WITH RECURSIVE subtree AS (
            SELECT id FROM categories WHERE id = :category_id
            UNION
            SELECT categories.id FROM categories JOIN subtree ON categories.parent_id = subtree.id
        )
        SELECT id FROM subtree
    """).bindparams(bindparam("category_id", type_=BigInteger)),
    lambda row: CategoryId(row["id"]),
)
"""Uses the index categories_by_parent. UNION would terminate even on a cycle."""


class CategoryTreeRepository:
    """Reads the tree by prepared statements."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def subtree(self, category_id: CategoryId) -> list[CategoryId]:
        """Returns a category and all its descendants; nothing if the category does not exist."""
        return await _SUBTREE.all(self._connection, category_id=category_id)


class CategoryRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def list_trees(self, offset: int, limit: int) -> tuple[list[CategoryTree], int]:
        """Returns a page of category trees, sorted by the names of their roots; and the number of all roots."""
        by_name = categories.c.name.collate(BY_PEOPLE), categories.c.id
        roots_only = categories.c.parent_id.is_(None)
        page = select(categories).where(roots_only).order_by(*by_name).offset(offset).limit(limit)
        roots = [_category(row) for row in await self._transaction.execute(page)]
        descendants = await self._transaction.execute(_DESCENDANTS, {"roots": [root.id for root in roots]})
        total = await self._transaction.scalar(select(func.count()).select_from(categories).where(roots_only))
        return build_trees(roots, [_category(row) for row in descendants]), total or 0

    async def list_all(self) -> list[Category]:
        """Returns all categories, in no particular order."""
        return [_category(row) for row in await self._transaction.execute(select(categories))]

    async def subtree(self, category_id: CategoryId) -> list[CategoryId]:
        """Returns a category and all its descendants; nothing if the category does not exist."""
        return await CategoryTreeRepository(self._transaction).subtree(category_id)

    async def lock_tree(self) -> None:
        """Keeps other transactions from moving categories until this one ends, with an advisory lock."""
        await self._transaction.execute(select(func.pg_advisory_xact_lock(_TREE_LOCK)))

    async def find(self, category_id: CategoryId) -> Category | None:
        """Reads by primary key."""
        row = (await self._transaction.execute(select(categories).where(categories.c.id == category_id))).first()
        return None if row is None else _category(row)

    async def depth(self, category_id: CategoryId) -> int:
        """Returns the number of levels from the root to a category, both included; 0 if the category does not exist."""
        return await self._transaction.scalar(_DEPTH, {"category_id": category_id}) or 0

    async def height(self, category_id: CategoryId) -> int:
        """Returns the number of levels of a category's tree, including its own."""
        return await self._transaction.scalar(_HEIGHT, {"category_id": category_id}) or 0

    async def add(self, name: str, parent_id: CategoryId | None) -> Category:
        """Raises CategoryExists, by the index on names; UnknownParent, by the foreign key."""
        new = insert(categories).values(name=name, parent_id=parent_id).returning(categories)
        with _raise_on_conflict(name, parent_id):
            return _category((await self._transaction.execute(new)).one())

    async def update(self, category: Category) -> None:
        """Raises CategoryExists, UnknownParent."""
        row = update(categories).where(categories.c.id == category.id)
        changed = row.values(name=category.name, parent_id=category.parent_id)
        with _raise_on_conflict(category.name, category.parent_id):
            await self._transaction.execute(changed)

    async def delete(self, category_id: CategoryId) -> None:
        """Removes the deleted products from a category, then deletes it. Raises UnknownCategory, CategoryInUse.

        A product or subcategory that is added concurrently locks the category's row: the deletion then fails.
        """
        deleted_products = products.c.category_id == category_id, products.c.deleted_at.is_not(None)
        await self._transaction.execute(update(products).where(*deleted_products).values(category_id=None))
        deleted = delete(categories).where(categories.c.id == category_id).returning(categories.c.id)
        with raise_on_missing_reference(CategoryInUse(category_id)):
            found = await self._transaction.execute(deleted)
        if found.first() is None:
            raise UnknownCategory(category_id)


@contextmanager
def _raise_on_conflict(name: str, parent_id: CategoryId | None) -> Iterator[None]:
    """Raises CategoryExists, by the index on names; UnknownParent, by the foreign key."""
    no_parent = UnknownParent(parent_id or CategoryId(0))
    with raise_on_duplicate(CategoryExists(name)), raise_on_missing_reference(no_parent):
        yield


def _category(row: Row[Any]) -> Category:
    return Category(CategoryId(row.id), row.name, None if row.parent_id is None else CategoryId(row.parent_id))


_DESCENDANTS = text("""
    WITH RECURSIVE below AS (
        SELECT * FROM categories WHERE parent_id = ANY(:roots)
        UNION
        SELECT categories.* FROM categories JOIN below ON categories.parent_id = below.id
    )
    SELECT id, name, parent_id FROM below ORDER BY name COLLATE "und-x-icu", id
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
"""All use the index categories_by_parent or the primary key. UNION, or the bound, would terminate even on a cycle."""
