"""What stops the start of the payment service, and how it says so."""

import pytest
from chassis.errors import SettingsError
from chassis.settings import read
from payment_service.app import Settings

NEEDED = {
    "GRPC_PORT": "9096",
    "DB_HOST": "db",
    "DB_USER": "u",
    "DB_PASSWORD": "p",
    "DB_NAME": "payments_db",
    "USER_GRPC": "user:9091",
    "ORDER_GRPC": "order:9095",
    "RABBITMQ_URL": "amqp://u:p@broker/",
}
STRIPE = {"PAYMENT_PROVIDER": "stripe", "STRIPE_SECRET_KEY": "sk_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}


def test_the_provider_is_never_guessed() -> None:
    with pytest.raises(SettingsError, match=r"^PAYMENT_PROVIDER is not set$"):
        read(Settings, NEEDED)
    with pytest.raises(SettingsError, match=r"^PAYMENT_PROVIDER is malformed: .*'simulated' or 'stripe'"):
        read(Settings, {**NEEDED, "PAYMENT_PROVIDER": "paypal"})


def test_the_simulated_provider_needs_no_secret() -> None:
    settings = read(Settings, {**NEEDED, "PAYMENT_PROVIDER": "simulated"})

    assert (settings.stripe_secret_key, settings.stripe_webhook_secret) == (None, None)


@pytest.mark.parametrize("missing", ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"])
def test_stripe_needs_its_secrets(missing: str) -> None:
    environment = {name: value for name, value in (NEEDED | STRIPE).items() if name != missing}

    with pytest.raises(SettingsError, match=f"^{missing} is not set$"):
        read(Settings, environment)


def test_secrets_do_not_show_in_what_is_printed() -> None:
    settings = read(Settings, NEEDED | STRIPE | {"STRIPE_API_BASE": "http://127.0.0.1:12111"})

    assert "sk_1" not in repr(settings)
    assert "whsec_1" not in repr(settings)
