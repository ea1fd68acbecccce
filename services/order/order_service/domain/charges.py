"""What an order costs beyond its lines: shipping and tax, each a port with one simple rule. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chassis.types.money import Money

BASIS_POINTS = 10_000
"""So many make a whole: 1900 are 19 %."""


class ShippingRule(Protocol):
    def cost(self, subtotal: Money, country: str | None) -> Money:
        """Of bringing goods for `subtotal` to a country; None where the order names no address."""


class TaxRule(Protocol):
    def due(self, taxable: Money, country: str | None) -> Money:
        """On goods and shipping together."""


@dataclass(frozen=True, slots=True)
class FlatRate:
    """`amount` minor units, nothing for a subtotal from `free_from` minor units on."""

    amount: int
    free_from: int | None = None


@dataclass(frozen=True, slots=True)
class FlatRates:
    """One flat rate per currency; free in a currency that has none."""

    rates: Mapping[str, FlatRate] = field(default_factory=dict)

    def cost(self, subtotal: Money, country: str | None) -> Money:
        rate = self.rates.get(subtotal.currency, FlatRate(0))
        is_free = rate.free_from is not None and subtotal.amount >= rate.free_from
        return Money(0 if is_free else rate.amount, subtotal.currency)


@dataclass(frozen=True, slots=True)
class PercentageByCountry:
    """`basis_points` of the taxable amount by country, rounded half to even; `home` is the country of an order without an address."""

    basis_points: Mapping[str, int] = field(default_factory=dict)
    home: str | None = None

    def due(self, taxable: Money, country: str | None) -> Money:
        rate = self.basis_points.get(country or self.home or "", 0)
        return Money(half_even(taxable.amount * rate, BASIS_POINTS), taxable.currency)


@dataclass(frozen=True, slots=True)
class Tariff:
    """The rules of a shop. By default orders cost what their lines cost."""

    shipping: ShippingRule = FlatRates()
    tax: TaxRule = PercentageByCountry()


def half_even(numerator: int, denominator: int) -> int:
    """The quotient of two integers that are not negative, rounded to the nearest, a tie to the even one."""
    quotient, rest = divmod(numerator, denominator)
    is_up = 2 * rest > denominator or (2 * rest == denominator and quotient % 2 == 1)
    return quotient + is_up
