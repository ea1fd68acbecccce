"""Categories of products, which form a tree. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NewType

CategoryId = NewType("CategoryId", int)

MAX_DEPTH = 10
"""Levels that the tree has at most: a page can show that many, and a recursive program does not overflow its stack."""


class Unset(Enum):
    """The type of a field that a request leaves out, where that differs from null."""

    UNSET = "unset"


UNSET: Literal[Unset.UNSET] = Unset.UNSET


@dataclass(frozen=True, slots=True)
class Category:
    id: CategoryId
    name: str
    parent_id: CategoryId | None = None


@dataclass(frozen=True, slots=True)
class CategoryTree:
    """A category with all its descendants, each level sorted by name."""

    id: CategoryId
    name: str
    parent_id: CategoryId | None
    children: tuple["CategoryTree", ...]


def build_trees(roots: Sequence[Category], descendants: Sequence[Category]) -> list[CategoryTree]:
    """Builds the tree of each root from the descendants of all of them. Siblings keep the order of `descendants`."""
    children: dict[CategoryId | None, list[Category]] = {}
    for category in descendants:
        children.setdefault(category.parent_id, []).append(category)

    def build(category: Category) -> CategoryTree:
        subtrees = tuple(map(build, children.get(category.id, ())))
        return CategoryTree(category.id, category.name, category.parent_id, subtrees)

    return [build(root) for root in roots]


def add_up_subtrees(
    counts: Mapping[CategoryId, int], parents: Mapping[CategoryId, CategoryId | None]
) -> dict[CategoryId, int]:
    """Returns the count of each category with its descendants, given the count of each category alone.

    `parents` has every category.
    """
    totals: dict[CategoryId, int] = {}
    for category_id, count in counts.items():
        ancestor: CategoryId | None = category_id
        while ancestor is not None:
            totals[ancestor] = totals.get(ancestor, 0) + count
            ancestor = parents.get(ancestor)
    return totals
