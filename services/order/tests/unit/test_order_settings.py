"""The settings of the order service."""

from datetime import timedelta

import pytest
from chassis.errors import SettingsError
from chassis.settings import read
from order_service.settings import Settings

ENVIRONMENT = {
    "DB_HOST": "db",
    "DB_USER": "orders",
    "DB_PASSWORD": "secret",
    "DB_NAME": "orders_db",
    "GRPC_PORT": "9095",
    "RABBITMQ_URL": "amqp://broker",
    "USER_GRPC": "user:9091",
    "PRODUCT_GRPC": "product:9094",
    "INVENTORY_GRPC": "inventory:9092",
    "PAYMENT_GRPC": "payment:9096",
    "GRPC_TOKENS": ",".join(f"{name}={'t' * 32}" for name in ("user", "product", "inventory", "payment")),
    "GRPC_CALLERS": f"review={'d' * 64}",
}


def settings_with(**variables: str) -> Settings:
    return read(Settings, ENVIRONMENT | variables)


def test_without_a_list_the_shop_sells_in_every_currency() -> None:
    assert {"USD", "KWD", "ISK"} < settings_with().offered_currencies
    assert settings_with(CURRENCIES=" USD, EUR ").offered_currencies == {"USD", "EUR"}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CURRENCIES", "USD,ZZZ", "'ZZZ' is no currency of ISO 4217"),
        ("CURRENCIES", "usd", "'usd' is no currency"),
        ("SHIPPING_RATES", '{"XXX": {"amount": 1}}', "'XXX' is no currency"),
        ("SHIPPING_RATES", '{"SEK": {"amount": 1}}', "CURRENCIES is USD,EUR, without SEK"),
        ("PAYMENT_PROVIDER", "cash", "PAYMENT_PROVIDER is malformed"),
    ],
)
def test_a_currency_that_the_shop_does_not_sell_in_stops_the_start(variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings_with(**{"CURRENCIES": "USD,EUR", variable: value})


@pytest.mark.parametrize(
    ("ttl", "margin", "effective"), [("1800", "30", 30), ("60", "30", 15), ("8", "30", 2), ("8", "1", 1)]
)
def test_the_margin_takes_at_most_a_quarter_of_the_time_to_pay(ttl: str, margin: str, effective: float) -> None:
    settings = settings_with(ORDER_TTL_SECONDS=ttl, PAYMENT_MARGIN_SECONDS=margin)

    assert settings.expiry.margin == timedelta(seconds=effective)
