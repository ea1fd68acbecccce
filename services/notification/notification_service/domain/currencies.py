"""The number of decimals of each currency: ISO 4217, list one, column "minor unit".

Locale data cannot be used for this: it has the number of digits that people write (none in AFN or IQD), and an amount
would be wrong by a factor of 100 or 1000.
"""

from decimal import Decimal

from chassis.types.money import Money

_DEFAULT_DECIMALS = 2
_CURRENCIES_BY_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DECIMALS = {
    currency: decimals for decimals, currencies in _CURRENCIES_BY_DECIMALS.items() for currency in currencies.split()
}


def decimals(currency: str) -> int:
    """Returns how many decimals an amount has: 0 for JPY, 2 for USD, 3 for KWD."""
    return _DECIMALS.get(currency, _DEFAULT_DECIMALS)


def to_major_units(money: Money) -> Decimal:
    """Converts an amount exactly: 249999 minor units of USD are 2499.99."""
    return Decimal(money.amount).scaleb(-decimals(money.currency))
