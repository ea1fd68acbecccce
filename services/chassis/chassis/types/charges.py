"""What a payment provider can charge: its currencies, its units, and the smallest and largest amount of each.

The order service checks a total before it takes an order; the payment service converts amounts at the provider's port.

Stripe's rules: https://docs.stripe.com/currencies (zero-decimal currencies, special cases, minimum and maximum charge
amounts; read in November 2026), and for three decimals the same page of 2022, since it says nothing about them now.
Stripe applies a minimum to the currency that the account is paid out in. For a charge in another currency it is
converted at the rate of the day, so an amount near the minimum may be refused nevertheless, when it is paid.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from chassis.types.currencies import DECIMALS, decimals, major_units
from chassis.types.money import Money


class NotChargeable(ValueError):
    """The provider cannot charge the amount."""


class CurrencyNotChargeable(NotChargeable):
    """The provider takes no payments in the currency."""

    def __init__(self, currency: str) -> None:
        super().__init__(f"the payment provider takes no payments in {currency}: use another currency")


class AmountNotChargeable(NotChargeable):
    """The provider cannot represent the amount: it counts in larger steps."""

    def __init__(self, amount: Money, step: int) -> None:
        super().__init__(
            f"the payment provider cannot charge {_text(amount)}: it takes multiples of "
            f"{_text(Money(step, amount.currency))} only"
        )


class ChargeTooSmall(NotChargeable):
    """The amount is below the provider's minimum."""

    def __init__(self, amount: Money, minimum: Money) -> None:
        super().__init__(f"{_text(amount)} is less than the smallest possible payment, {_text(minimum)}")
        self.minimum = minimum


class ChargeTooLarge(NotChargeable):
    """The amount is above the provider's maximum."""

    def __init__(self, amount: Money, maximum: Money) -> None:
        super().__init__(f"{_text(amount)} is more than the largest possible payment, {_text(maximum)}")
        self.maximum = maximum


class ProviderName(StrEnum):
    SIMULATED = "simulated"
    STRIPE = "stripe"


@dataclass(frozen=True, slots=True)
class ChargeRules:
    """The rules of one provider.

    `decimals` and `multiples` are of the currencies in which it counts otherwise than ISO 4217: the decimals of its
    unit, and the number of its units that every amount is a multiple of. `minimums` and `maximum` are in its units.
    """

    currencies: Set[str]
    decimals: Mapping[str, int]
    multiples: Mapping[str, int]
    minimums: Mapping[str, int]
    maximum: int | None

    def check(self, amount: Money) -> None:
        """Raises CurrencyNotChargeable, AmountNotChargeable, ChargeTooSmall, ChargeTooLarge."""
        units = self.to_units(amount)
        minimum = self.minimums.get(amount.currency, 0)
        if units < minimum:
            raise ChargeTooSmall(amount, self.from_units(minimum, amount.currency))
        if self.maximum is not None and units > self.maximum:
            step = self.multiples.get(amount.currency, 1)
            raise ChargeTooLarge(amount, self.from_units(self.maximum // step * step, amount.currency))

    def to_units(self, amount: Money) -> int:
        """Returns an amount in the provider's units. Raises CurrencyNotChargeable, AmountNotChargeable.

        Nothing is rounded: an amount that the provider cannot represent is refused.
        """
        if amount.currency not in self.currencies:
            raise CurrencyNotChargeable(amount.currency)
        ours, theirs = _ten_to(decimals(amount.currency)), _ten_to(self._decimals(amount.currency))
        units, rest = divmod(amount.amount * theirs, ours)
        multiple = self.multiples.get(amount.currency, 1)
        if rest or units % multiple:
            raise AmountNotChargeable(amount, max(1, multiple * ours // theirs))
        return units

    def from_units(self, units: int, currency: str) -> Money:
        """Returns an amount that the provider reports, in minor units.

        Raises NotChargeable if minor units cannot represent it, such as a fraction of a króna.
        """
        ours, theirs = _ten_to(decimals(currency)), _ten_to(self._decimals(currency))
        amount, rest = divmod(units * ours, theirs)
        if rest:
            raise NotChargeable(f"{units} units of {currency} at the payment provider are no whole minor units")
        return Money(amount, currency)

    def _decimals(self, currency: str) -> int:
        return self.decimals.get(currency, decimals(currency))


def charge_rules(provider: ProviderName) -> ChargeRules:
    """Returns the rules of a provider. The simulated one charges every amount in every currency."""
    return _STRIPE if provider is ProviderName.STRIPE else _SIMULATED


def _ten_to(exponent: int) -> int:
    return int(10**exponent)


def _text(amount: Money) -> str:
    return f"{major_units(amount.amount, amount.currency)} {amount.currency}"


_CURRENCIES_OF_STRIPE = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP CNY COP CRC
    CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JOD JPY
    KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO
    NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD SZL THB TJS TND
    TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW
"""
_SIMULATED = ChargeRules(
    frozenset(DECIMALS), MappingProxyType({}), MappingProxyType({}), MappingProxyType({}), maximum=None
)
_STRIPE = ChargeRules(
    currencies=frozenset(_CURRENCIES_OF_STRIPE.split()),
    decimals=MappingProxyType({"ISK": 2, "MGA": 0, "UGX": 2}),
    multiples=MappingProxyType({"ISK": 100, "UGX": 100, "BHD": 10, "JOD": 10, "KWD": 10, "OMR": 10, "TND": 10}),
    minimums=MappingProxyType(
        {
            "AED": 200, "ARS": 50, "AUD": 50, "BRL": 50, "CAD": 50, "CHF": 50, "COP": 50, "CZK": 1500, "DKK": 250,
            "EUR": 50, "GBP": 30, "HKD": 400, "HUF": 17500, "IDR": 50, "ILS": 50, "INR": 50, "JPY": 50, "KRW": 50,
            "MXN": 1000, "MYR": 200, "NOK": 300, "NZD": 50, "PHP": 50, "PLN": 200, "RON": 200, "RUB": 50, "SEK": 300,
            "SGD": 50, "THB": 1000, "USD": 50, "ZAR": 50,
        }
    ),
    maximum=999_999_999_999,
)  # fmt: skip
