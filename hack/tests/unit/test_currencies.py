"""The operator's list of currencies, which it has for its CRD, is that of the services."""

from chassis.types.currencies import DECIMALS

from platform_operator.api.shop_settings import CURRENCIES


def test_the_custom_resource_has_the_currencies_of_the_services() -> None:
    assert set(CURRENCIES.split()) == set(DECIMALS)
