"""The currencies in which prices are set and orders are paid, with the decimals of their minor unit.

Source: ISO 4217, list one, as published on 2026-01-01: every code of a currency in circulation. Left out are codes in
which nothing can be paid: XXX and XTS, precious metals, bond market units, drawing rights, and funds codes such as CHE,
CLF, MXV or USN.

Locale data cannot be used for the decimals: it has the number of digits that people write (none in AFN or IQD), and an
amount would be wrong by a factor of 100 or 1000. A payment provider may count in other units: see
`chassis.types.charges`.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

_CODES_BY_DECIMALS: Mapping[int, str] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP
        CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES
        KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
        NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB
        TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
}
DECIMALS: Mapping[str, int] = MappingProxyType(
    {code: decimals for decimals, codes in _CODES_BY_DECIMALS.items() for code in codes.split()}
)
"""The decimals of each currency by its code; a code that is not here names no currency."""
_DECIMALS_OF_WITHDRAWN = 2


def decimals(currency: str) -> int:
    """Returns how many decimals an amount has: 0 for JPY, 2 for USD, 3 for KWD.

    Amounts of a currency that was withdrawn stay in the history of old orders; they have two.
    """
    return DECIMALS.get(currency, _DECIMALS_OF_WITHDRAWN)


def major_units(amount: int, currency: str) -> Decimal:
    """Converts minor units exactly: 249999 of USD are 2499.99."""
    return Decimal(amount).scaleb(-decimals(currency))
