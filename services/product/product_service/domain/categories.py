"""Categories: what products are filed under. They make a tree. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NewType

CategoryId = NewType("CategoryId", int)

MAX_DEPTH = 10
"""Levels of the tree: what a page of it can show, and a program can read without fear for its stack."""


class Unsaid(Enum):
    """What a request leaves out, where leaving out differs from saying that there is none."""

    UNSAID = "unsaid"


UNSAID: Literal[Unsaid.UNSAID] = Unsaid.UNSAID


@dataclass(frozen=True, slots=True)
class Category:
    id: CategoryId
    name: str
    parent_id: CategoryId | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """A category and all that is below it, each level by name."""

    id: CategoryId
    name: str
    parent_id: CategoryId | None
    children: tuple["Branch", ...]


def branches(roots: Sequence[Category], below: Sequence[Category]) -> list[Branch]:
    """The trees of these roots, out of the categories that are somewhere below them. Siblings keep the order they come in."""
    children: dict[CategoryId | None, list[Category]] = {}
    for category in below:
        children.setdefault(category.parent_id, []).append(category)

    def grown(category: Category) -> Branch:
        return Branch(category.id, category.name, category.parent_id, tuple(map(grown, children.get(category.id, ()))))

    return [grown(root) for root in roots]


def with_subtrees(
    counts: Mapping[CategoryId, int], parents: Mapping[CategoryId, CategoryId | None]
) -> dict[CategoryId, int]:
    """How many there are in each category or below it, from how many are in each itself. `parents` has every category."""
    totals: dict[CategoryId, int] = {}
    for category_id, count in counts.items():
        above: CategoryId | None = category_id
        while above is not None:
            totals[above] = totals.get(above, 0) + count
            above = parents.get(above)
    return totals
