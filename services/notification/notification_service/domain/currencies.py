"""How many minor units a currency has: ISO 4217, list one, column "minor unit". Pure.

Locale data cannot tell: it says how many digits people write (none in AFN or IQD), and an amount would be wrong by a factor of
100 or 1000.
"""

from decimal import Decimal

from chassis.types.money import Money

_USUAL = 2
_UNUSUAL = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DIGITS = {currency: digits for digits, currencies in _UNUSUAL.items() for currency in currencies.split()}


def digits(currency: str) -> int:
    """Decimals of an amount: 0 for JPY, 2 for USD, 3 for KWD."""
    return _DIGITS.get(currency, _USUAL)


def in_major_units(money: Money) -> Decimal:
    """Exact: 249999 minor units of USD are 2499.99."""
    return Decimal(money.amount).scaleb(-digits(money.currency))
