"""The payment methods that a user has saved. The provider keeps them; here is what may be shown."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType
from uuid import UUID

from chassis.types.ids import UserId

MethodId = NewType("MethodId", UUID)
MAX_METHODS = 20


@dataclass(frozen=True, slots=True)
class SavedMethod:
    id: MethodId
    user_id: UserId
    ref: str = field(repr=False)
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Customer:
    """A user as the provider knows them; `ref` is None until they have saved something."""

    user_id: UserId
    ref: str | None
    is_erased: bool
