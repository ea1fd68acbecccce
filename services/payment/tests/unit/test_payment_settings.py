"""The settings without which the payment service does not start, and the messages about them."""

import pytest
from chassis.errors import SettingsError
from chassis.settings import read
from payment_service.settings import Settings

REQUIRED = {
    "GRPC_PORT": "9096",
    "DB_HOST": "db",
    "DB_USER": "u",
    "DB_PASSWORD": "p",
    "DB_NAME": "payments_db",
    "USER_GRPC": "user:9091",
    "ORDER_GRPC": "order:9095",
    "GRPC_TOKENS": f"user={'t' * 32},order={'t' * 32}",
    "GRPC_CALLERS": f"order={'d' * 64}",
    "RABBITMQ_URL": "amqp://u:p@broker/",
}
STRIPE = {"PAYMENT_PROVIDER": "stripe", "STRIPE_SECRET_KEY": "sk_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}


def test_the_provider_has_no_default() -> None:
    with pytest.raises(SettingsError, match=r"^PAYMENT_PROVIDER is not set$"):
        read(Settings, REQUIRED)
    with pytest.raises(SettingsError, match=r"^PAYMENT_PROVIDER is malformed: .*'simulated' or 'stripe'"):
        read(Settings, {**REQUIRED, "PAYMENT_PROVIDER": "paypal"})


def test_the_simulated_provider_needs_no_secret() -> None:
    settings = read(Settings, {**REQUIRED, "PAYMENT_PROVIDER": "simulated"})

    assert (settings.stripe_secret_key, settings.stripe_webhook_secret) == (None, None)


@pytest.mark.parametrize("missing", ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"])
def test_stripe_needs_its_secrets(missing: str) -> None:
    environment = {name: value for name, value in (REQUIRED | STRIPE).items() if name != missing}

    with pytest.raises(SettingsError, match=f"^{missing} is not set$"):
        read(Settings, environment)


def test_secrets_are_not_in_the_repr() -> None:
    settings = read(Settings, REQUIRED | STRIPE | {"STRIPE_API_BASE": "http://127.0.0.1:12111"})

    assert "sk_1" not in repr(settings)
    assert "whsec_1" not in repr(settings)
