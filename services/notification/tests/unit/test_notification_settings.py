"""Which settings stop the start of the service, and with which error."""

import pytest
from chassis.errors import SettingsError
from chassis.settings import read
from notification_service.settings import Settings

COMPLETE = {
    "DB_HOST": "db",
    "DB_USER": "u",
    "DB_PASSWORD": "p",
    "DB_NAME": "n",
    "GRPC_PORT": "9097",
    "RABBITMQ_URL": "amqp://broker:5672",
    "USER_GRPC": "user:9091",
    "GRPC_TOKENS": f"user={'t' * 32}",
}
SMTP = {"SMTP_HOST": "mail", "SMTP_FROM": "shop@example.com", "SMTP_USER": "u", "SMTP_PASSWORD": "secret-word"}
TWILIO = {"SMS_PROVIDER": "twilio", "TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t", "TWILIO_FROM": "+1555"}


def test_mail_and_sms_are_optional() -> None:
    settings = read(Settings, COMPLETE)

    assert (settings.smtp_host, settings.sms_provider, settings.smtp_starttls) == (None, "log", True)


@pytest.mark.parametrize("extra", [SMTP, SMTP | {"SMTP_FROM": "The shop <shop@example.com>"}, TWILIO])
def test_complete_settings_are_accepted(extra: dict[str, str]) -> None:
    read(Settings, COMPLETE | extra)


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        ({"SMTP_HOST": "mail"}, "SMTP_FROM is malformed: SMTP_HOST is set, so write the address that mails come from"),
        (SMTP | {"SMTP_FROM": "shop"}, "SMTP_FROM is malformed: write shop@example.com or"),
        (SMTP | {"SMTP_FROM": "a@b.c\r\nBcc: d@e.f"}, "SMTP_FROM is malformed"),
        (SMTP | {"SMTP_PASSWORD": ""}, "SMTP_PASSWORD is malformed: set SMTP_USER and SMTP_PASSWORD both, or neither"),
        (SMTP | {"SMTP_USER": ""}, "SMTP_PASSWORD is malformed: set SMTP_USER and SMTP_PASSWORD both, or neither"),
        (SMTP | {"SMTP_STARTTLS": "false"}, "SMTP_PASSWORD is malformed: a password is not sent in the clear"),
        (SMTP | {"SMTP_STARTTLS": "perhaps"}, "SMTP_STARTTLS is malformed"),
        (SMTP | {"SMTP_PORT": "x"}, "SMTP_PORT is malformed"),
        (TWILIO | {"TWILIO_AUTH_TOKEN": ""}, "TWILIO_AUTH_TOKEN is malformed: SMS_PROVIDER is twilio"),
        (TWILIO | {"TWILIO_FROM": ""}, "TWILIO_FROM is malformed: SMS_PROVIDER is twilio"),
        ({"SMS_PROVIDER": "pigeon"}, "SMS_PROVIDER is malformed"),
        ({"SHOP_URL": "shop.example"}, "SHOP_URL is malformed: write http://host:port"),
        ({"SEND_ATTEMPTS": "0"}, "SEND_ATTEMPTS is malformed"),
        ({"USER_GRPC": ""}, "USER_GRPC is not set"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_settings_are_refused_with_one_line(extra: dict[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(Settings, COMPLETE | extra)

    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
    assert "secret-word" not in str(refused.value)


def test_the_repr_of_settings_shows_no_secret() -> None:
    assert "secret-word" not in repr(read(Settings, COMPLETE | SMTP))
