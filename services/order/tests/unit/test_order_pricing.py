"""What shipping and tax add to the price of an order."""

from datetime import UTC, datetime
from fractions import Fraction
from uuid import UUID

import pytest
from chassis.types.charges import ProviderName, charge_rules
from chassis.types.ids import OrderId, ProductId, UserId
from chassis.types.money import MAX_AMOUNT, Money
from hypothesis import given
from hypothesis import strategies as st
from order_service.domain.addresses import Address
from order_service.domain.errors import AddressRequired, TotalNotChargeable, TotalTooLarge, TotalTooSmall
from order_service.domain.items import Item
from order_service.domain.orders import Order
from order_service.domain.pricing import FlatRate, FlatRates, PercentageByCountry, PricingRules, divide_half_even

NOW = datetime(2025, 1, 1, tzinfo=UTC)
GERMANY = Address("Ada", "Weg 1", "Berlin", "DE")
SHOP = PricingRules(
    FlatRates({"USD": FlatRate(499, free_from=5000), "EUR": FlatRate(300)}),
    PercentageByCountry({"DE": 1900, "FR": 550}, home="FR"),
)


def usd(amount: int) -> Money:
    return Money(amount, "USD")


def order_of(amount: int, rules: PricingRules, address: Address | None = None) -> Order:
    items = (Item(ProductId(1), "Cup", 1, usd(amount), UserId(7)),)
    return Order.place(OrderId(UUID(int=1)), UserId(3), items, rules, NOW, NOW, address)


def test_by_default_an_order_costs_what_its_items_cost() -> None:
    order = order_of(1999, PricingRules(), GERMANY)

    assert (order.subtotal, order.shipping, order.tax, order.total) == (usd(1999), usd(0), usd(0), usd(1999))


def test_the_total_is_subtotal_shipping_and_tax_on_both() -> None:
    order = order_of(1001, SHOP, GERMANY)

    assert (order.subtotal, order.shipping) == (usd(1001), usd(499))
    assert (order.tax, order.total) == (usd(285), usd(1785))


@pytest.mark.parametrize(("subtotal", "shipping"), [(4999, 499), (5000, 0), (5001, 0)])
def test_shipping_is_free_from_its_threshold_on(subtotal: int, shipping: int) -> None:
    assert SHOP.shipping.cost(usd(subtotal), "DE") == usd(shipping)


def test_a_rate_without_a_threshold_is_never_free_and_a_currency_without_a_rate_always() -> None:
    assert SHOP.shipping.cost(Money(MAX_AMOUNT, "EUR"), None) == Money(300, "EUR")
    assert SHOP.shipping.cost(Money(1, "JPY"), None) == Money(0, "JPY")


@pytest.mark.parametrize(("country", "tax"), [("DE", 190), ("FR", 55), ("US", 0), (None, 55)])
def test_tax_depends_on_the_country_and_defaults_to_the_home_country(country: str | None, tax: int) -> None:
    assert SHOP.tax.due(usd(1000), country) == usd(tax)


def test_an_order_without_an_address_is_untaxed_only_in_a_shop_without_taxes() -> None:
    assert PercentageByCountry().due(usd(1000), None) == usd(0)
    with pytest.raises(AddressRequired, match="send shipping_address"):
        PercentageByCountry({"DE": 1900}).due(usd(1000), None)


@given(st.integers(0, MAX_AMOUNT), st.integers(0, 10_000))
def test_tax_is_rounded_half_to_even(amount: int, rate: int) -> None:
    assert divide_half_even(amount * rate, 10_000) == round(Fraction(amount * rate, 10_000))


@pytest.mark.parametrize("amount", [MAX_AMOUNT, MAX_AMOUNT - 1])
def test_charges_that_make_the_total_too_large_are_refused(amount: int) -> None:
    with pytest.raises(TotalTooLarge):
        order_of(amount, SHOP, GERMANY)


STRIPE = PricingRules(FlatRates({"USD": FlatRate(10)}), charges=charge_rules(ProviderName.STRIPE))


def test_a_total_below_the_providers_minimum_is_refused() -> None:
    with pytest.raises(TotalTooSmall, match=r"the total is 0.49 USD, and the smallest possible payment is 0.50 USD"):
        order_of(39, STRIPE)

    assert order_of(40, STRIPE).total == usd(50)  # shipping counts too
    assert order_of(1, PricingRules()).total == usd(1)


def test_a_total_above_the_providers_maximum_is_refused() -> None:
    with pytest.raises(TotalTooLarge):
        order_of(10**12, STRIPE)


@pytest.mark.parametrize("price", [Money(5124, "KWD"), Money(150, "MGA"), Money(5000, "LYD"), Money(5000, "ZZZ")])
def test_a_total_that_the_provider_cannot_charge_is_refused_and_not_rounded(price: Money) -> None:
    items = (Item(ProductId(1), "Cup", 1, price, UserId(7)),)
    with pytest.raises(TotalNotChargeable, match="this order could not be paid"):
        Order.place(OrderId(UUID(int=1)), UserId(3), items, STRIPE, NOW, NOW)
