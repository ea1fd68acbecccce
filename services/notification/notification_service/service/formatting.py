"""Formats amounts and times for a locale."""

import re
from copy import copy
from datetime import datetime

from babel import Locale
from babel.dates import format_date, format_time
from chassis.types.currencies import decimals, major_units
from chassis.types.money import Money

_LETTER_DIGIT_BOUNDARY = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
"""The place between a currency code and a digit, which gets a space (UTS 35, part 3, currencySpacing)."""


def format_money(amount: Money, locale: Locale) -> str:
    """Formats an amount with the locale's pattern and the currency's decimals: `$2,499.99`, `2.499,99 €`, `￥1,200`."""
    pattern = copy(locale.currency_formats["standard"])
    pattern.frac_prec = (decimals(amount.currency),) * 2
    text = str(
        pattern.apply(
            major_units(amount.amount, amount.currency), locale, currency=amount.currency, currency_digits=False
        )
    )
    return _LETTER_DIGIT_BOUNDARY.sub("\u00a0", text)


def format_datetime(at: datetime, locale: Locale) -> str:
    """Formats a time with its time zone, since the reader's is not known: `Nov 22, 2026, 4:05 PM UTC`."""
    time = format_time(at, "short", locale=locale).replace("\u202f", "\u00a0")
    return f"{format_date(at, 'medium', locale=locale)}, {time} UTC"
