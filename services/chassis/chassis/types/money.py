"""Money as integer minor units. No amount is ever a float."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_CURRENCY = re.compile(r"[A-Z]{3}")
MAX_AMOUNT = 2**53 - 1
"""The largest integer that JSON readers in every language represent exactly (RFC 8259, section 6)."""


class CurrencyMismatch(ValueError):
    """Amounts of two currencies were added."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units (cents of USD, whole JPY) of an ISO 4217 currency.

    Only the form of the code is checked here: an amount that was stored in a currency withdrawn since then can still be
    read. Where an amount enters the shop, `chassis.types.currencies` decides.
    """

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if not _CURRENCY.fullmatch(self.currency):
            raise ValueError(f"{self.currency!r} is not an ISO 4217 currency: write three capital letters, such as USD")
        if not 0 <= self.amount <= MAX_AMOUNT:
            raise ValueError(f"an amount must be between 0 and {MAX_AMOUNT} minor units, not {self.amount}")

    def __add__(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise CurrencyMismatch(f"cannot add {other.currency} to {self.currency}: price an order in one currency")
        return Money(self.amount + other.amount, self.currency)

    def __mul__(self, quantity: int) -> "Money":
        return Money(self.amount * quantity, self.currency)


def total(amounts: Iterable[Money]) -> Money:
    """Returns the sum of one or more amounts of one currency. Raises CurrencyMismatch."""
    first, *rest = amounts
    for amount in rest:
        first += amount
    return first
