"""The currencies of ISO 4217, and what a payment provider can charge in them."""

from decimal import Decimal

import pytest
from chassis.types.charges import (
    AmountNotChargeable,
    ChargeTooLarge,
    ChargeTooSmall,
    CurrencyNotChargeable,
    NotChargeable,
    ProviderName,
    charge_rules,
)
from chassis.types.currencies import DECIMALS, decimals, major_units
from chassis.types.money import Money
from hypothesis import assume, given
from hypothesis import strategies as st

STRIPE = charge_rules(ProviderName.STRIPE)
SIMULATED = charge_rules(ProviderName.SIMULATED)


@pytest.mark.parametrize("code", ["XXX", "XTS", "XAU", "XDR", "CLF", "CHE", "MXV", "USN", "UYI", "ZZZ", "HRK", "usd"])
def test_codes_in_which_nothing_is_paid_are_no_currencies(code: str) -> None:
    assert code not in DECIMALS


@pytest.mark.parametrize(("code", "expected"), [("JPY", 0), ("ISK", 0), ("MGA", 2), ("USD", 2), ("KWD", 3), ("IQD", 3)])
def test_decimals_are_those_of_iso_4217(code: str, expected: int) -> None:
    assert decimals(code) == expected


def test_amounts_of_a_withdrawn_currency_have_two_decimals() -> None:
    assert major_units(1050, "HRK") == Decimal("10.50")


@pytest.mark.parametrize(
    ("amount", "units"),
    [
        (Money(249_999, "USD"), 249_999),
        (Money(500, "JPY"), 500),
        (Money(5000, "ISK"), 500_000),
        (Money(5000, "UGX"), 500_000),
        (Money(500_000, "MGA"), 5000),
        (Money(5120, "KWD"), 5120),
        (Money(17_550, "HUF"), 17_550),
        (Money(1045, "TWD"), 1045),
    ],
)
def test_stripe_is_sent_its_own_units(amount: Money, units: int) -> None:
    assert STRIPE.to_units(amount) == units
    assert STRIPE.from_units(units, amount.currency) == amount


@pytest.mark.parametrize("amount", [Money(5124, "KWD"), Money(1001, "BHD"), Money(150, "MGA")])
def test_an_amount_that_stripe_cannot_represent_is_refused_and_not_rounded(amount: Money) -> None:
    with pytest.raises(AmountNotChargeable, match="it takes multiples of"):
        STRIPE.check(amount)


@pytest.mark.parametrize("currency", ["LYD", "IRR", "GHS", "HRK", "ZZZ"])
def test_a_currency_that_stripe_does_not_take_is_refused(currency: str) -> None:
    with pytest.raises(CurrencyNotChargeable, match=currency):
        STRIPE.check(Money(10_000, currency))


@pytest.mark.parametrize(
    ("amount", "minimum"),
    [
        (Money(49, "USD"), Money(50, "USD")),
        (Money(29, "GBP"), Money(30, "GBP")),
        (Money(49, "JPY"), Money(50, "JPY")),
        (Money(17_499, "HUF"), Money(17_500, "HUF")),
    ],
)
def test_an_amount_below_the_minimum_is_refused(amount: Money, minimum: Money) -> None:
    with pytest.raises(ChargeTooSmall) as refused:
        STRIPE.check(amount)

    assert refused.value.minimum == minimum
    STRIPE.check(minimum)


@pytest.mark.parametrize("maximum", [Money(999_999_999_999, "USD"), Money(9_999_999_999, "ISK")])
def test_an_amount_above_the_maximum_is_refused(maximum: Money) -> None:
    STRIPE.check(maximum)
    with pytest.raises(ChargeTooLarge) as refused:
        STRIPE.check(Money(maximum.amount + 1, maximum.currency))

    assert refused.value.maximum == maximum


def test_a_fraction_of_a_krona_at_stripe_is_no_amount() -> None:
    with pytest.raises(NotChargeable, match="no whole minor units"):
        STRIPE.from_units(1234, "ISK")


@given(st.sampled_from(sorted(DECIMALS)), st.integers(0, 10**9))
def test_what_stripe_is_sent_reads_back_as_the_same_amount(currency: str, amount: int) -> None:
    try:
        units = STRIPE.to_units(Money(amount, currency))
    except NotChargeable:
        assume(False)
    assert STRIPE.from_units(units, currency) == Money(amount, currency)


@given(st.sampled_from(sorted(DECIMALS)), st.integers(1, 10**12))
def test_the_simulated_provider_charges_every_amount_of_every_currency(currency: str, amount: int) -> None:
    SIMULATED.check(Money(amount, currency))
    assert SIMULATED.to_units(Money(amount, currency)) == amount
