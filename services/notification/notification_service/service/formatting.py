"""Amounts and times as people of a locale write them."""

import re
from copy import copy
from datetime import datetime

from babel import Locale
from babel.dates import format_date, format_time
from chassis.types.money import Money

from notification_service.domain.currencies import digits, in_major_units

_TOUCHING = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
"""Where a currency that is written in letters meets a digit: there stands a space (UTS 35, part 3, currencySpacing)."""


def money(amount: Money, locale: Locale) -> str:
    """`$2,499.99`, `2.499,99 €`, `￥1,200`: the locale's pattern with as many decimals as the currency has."""
    pattern = copy(locale.currency_formats["standard"])
    pattern.frac_prec = (digits(amount.currency),) * 2
    written = str(pattern.apply(in_major_units(amount), locale, currency=amount.currency, currency_digits=False))
    return _TOUCHING.sub("\u00a0", written)


def moment(at: datetime, locale: Locale) -> str:
    """With its time zone, since we do not know the reader's: `Nov 22, 2026, 4:05 PM UTC`."""
    time = format_time(at, "short", locale=locale).replace("\u202f", "\u00a0")
    return f"{format_date(at, 'medium', locale=locale)}, {time} UTC"
