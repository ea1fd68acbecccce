"""What an order costs: the total of its items, shipping and tax.

The rules for shipping and tax are protocols with one simple implementation each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chassis.types import money
from chassis.types.charges import (
    ChargeRules,
    ChargeTooLarge,
    ChargeTooSmall,
    NotChargeable,
    ProviderName,
    charge_rules,
)
from chassis.types.money import Money

from order_service.domain.errors import (
    AddressRequired,
    MixedCurrencies,
    TotalNotChargeable,
    TotalTooLarge,
    TotalTooSmall,
)
from order_service.domain.items import Item

BASIS_POINTS = 10_000
"""The number of basis points in a whole: 1900 basis points are 19 %."""


class ShippingRule(Protocol):
    def cost(self, subtotal: Money, country: str | None) -> Money:
        """Returns the cost of shipping goods for `subtotal`; `country` is None if the order has no address."""


class TaxRule(Protocol):
    def due(self, taxable: Money, country: str | None) -> Money:
        """Returns the tax on goods and shipping together; `country` is None if the order has no address.

        Raises AddressRequired if the tax depends on the country.
        """


@dataclass(frozen=True, slots=True)
class FlatRate:
    """A shipping rate of `amount` minor units, which is waived for a subtotal of `free_from` minor units or more."""

    amount: int
    free_from: int | None = None


@dataclass(frozen=True, slots=True)
class FlatRates:
    """A shipping rule with one flat rate per currency; shipping is free in a currency without a rate."""

    rates: Mapping[str, FlatRate] = field(default_factory=dict)

    def cost(self, subtotal: Money, country: str | None) -> Money:
        rate = self.rates.get(subtotal.currency, FlatRate(0))
        is_free = rate.free_from is not None and subtotal.amount >= rate.free_from
        return Money(0 if is_free else rate.amount, subtotal.currency)


@dataclass(frozen=True, slots=True)
class PercentageByCountry:
    """A tax rule: `basis_points` of the taxable amount by country, rounded half to even.

    `home` is the country of an order without an address. A shop that has taxes and no home country refuses such an
    order: otherwise a buyer would save the tax by leaving the address out.
    """

    basis_points: Mapping[str, int] = field(default_factory=dict)
    home: str | None = None

    def due(self, taxable: Money, country: str | None) -> Money:
        taxed_in = country or self.home
        if taxed_in is None and self.basis_points:
            raise AddressRequired
        rate = 0 if taxed_in is None else self.basis_points.get(taxed_in, 0)
        return Money(divide_half_even(taxable.amount * rate, BASIS_POINTS), taxable.currency)


@dataclass(frozen=True, slots=True)
class PricingRules:
    """The shipping and tax rules of a shop, and what its payment provider can charge.

    By default an order costs what its items cost, and every total can be charged.
    """

    shipping: ShippingRule = FlatRates()
    tax: TaxRule = PercentageByCountry()
    charges: ChargeRules = charge_rules(ProviderName.SIMULATED)


@dataclass(frozen=True, slots=True)
class Price:
    """What an order costs: `total` is the items' subtotal, shipping and tax together."""

    shipping: Money
    tax: Money
    total: Money


def price_order(items: Sequence[Item], country: str | None, rules: PricingRules) -> Price:
    """Returns what the items, their shipping and their tax cost.

    Raises MixedCurrencies, AddressRequired, TotalTooLarge, TotalTooSmall, TotalNotChargeable: an order that could never
    be paid is not taken.
    """
    currencies = sorted({item.unit_price.currency for item in items})
    if len(currencies) > 1:
        raise MixedCurrencies(currencies)
    try:
        subtotal = money.total(item.total for item in items)
        shipping = rules.shipping.cost(subtotal, country)
        tax = rules.tax.due(subtotal + shipping, country)
        price = Price(shipping, tax, subtotal + shipping + tax)
    except ValueError:
        raise TotalTooLarge from None
    _check_chargeable(price.total, rules.charges)
    return price


def _check_chargeable(total: Money, charges: ChargeRules) -> None:
    try:
        charges.check(total)
    except ChargeTooSmall as reason:
        raise TotalTooSmall(total, reason.minimum) from None
    except ChargeTooLarge:
        raise TotalTooLarge from None
    except NotChargeable as reason:
        raise TotalNotChargeable(reason) from None


def divide_half_even(numerator: int, denominator: int) -> int:
    """Returns the quotient of two integers that are not negative, rounded half to even."""
    quotient, remainder = divmod(numerator, denominator)
    is_up = 2 * remainder > denominator or (2 * remainder == denominator and quotient % 2 == 1)
    return quotient + is_up
