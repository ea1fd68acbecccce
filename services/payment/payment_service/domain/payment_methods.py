"""Payment methods: the one that a payment charges, and those that a user has saved.

The provider keeps the cards themselves.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType
from uuid import UUID

from chassis.types.ids import UserId

PaymentMethodId = NewType("PaymentMethodId", UUID)
MAX_SAVED_METHODS = 20
"""How many payment methods one user may save."""


@dataclass(frozen=True, slots=True)
class PaymentMethod:
    """The method that a payment charges, by the provider's reference; `customer` is set if a customer has saved it."""

    ref: str = field(repr=False)
    customer: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PaymentMethodChoice:
    """A buyer's choice of what to charge: a method by the provider's reference, or one that they have saved."""

    ref: str | None = None
    saved: PaymentMethodId | None = None


@dataclass(frozen=True, slots=True)
class SavedPaymentMethod:
    """A payment method that a user has saved: the provider's reference, and the details that may be shown."""

    id: PaymentMethodId
    user_id: UserId
    ref: str = field(repr=False)
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Customer:
    """A user as the provider knows them; `ref` is None until they have saved a payment method."""

    user_id: UserId
    ref: str | None
    is_erased: bool
