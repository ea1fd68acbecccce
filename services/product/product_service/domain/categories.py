"""Categories: what products are filed under."""

from dataclasses import dataclass
from typing import NewType

CategoryId = NewType("CategoryId", int)


@dataclass(frozen=True, slots=True)
class Category:
    id: CategoryId
    name: str
