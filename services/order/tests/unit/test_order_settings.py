"""The margin before and after the expiry of an order fits the time that an order may stay unpaid."""

from datetime import timedelta

import pytest
from chassis.settings import read
from order_service.settings import Settings

ENVIRONMENT = {
    "GRPC_PORT": "9095",
    "DB_HOST": "db",
    "DB_USER": "orders",
    "DB_PASSWORD": "secret",
    "DB_NAME": "orders_db",
    "RABBITMQ_URL": "amqp://broker/",
    "USER_GRPC": "user:9091",
    "PRODUCT_GRPC": "product:9094",
    "INVENTORY_GRPC": "inventory:9092",
    "PAYMENT_GRPC": "payment:9096",
}


@pytest.mark.parametrize(
    ("ttl", "margin", "effective"), [("1800", "30", 30), ("60", "30", 15), ("8", "30", 2), ("8", "1", 1)]
)
def test_the_margin_takes_at_most_a_quarter_of_the_time_to_pay(ttl: str, margin: str, effective: float) -> None:
    settings = read(Settings, ENVIRONMENT | {"ORDER_TTL_SECONDS": ttl, "PAYMENT_MARGIN_SECONDS": margin})

    assert settings.expiry.margin == timedelta(seconds=effective)
