import pytest
from chassis.errors import SettingsError
from chassis.settings import read
from user_service.settings import Settings

COMPLETE = {
    "DB_HOST": "db",
    "DB_USER": "u",
    "DB_PASSWORD": "p",
    "DB_NAME": "users_db",
    "GRPC_PORT": "9091",
    "GRPC_CALLERS": f"review={'d' * 64}",
    "JWT_SECRET": "0123456789abcdef0123456789abcdef",
    "REDIS_URL": "redis://redis:6379/0",
    "RABBITMQ_URL": "amqp://u:broker-password@broker:5672/",
}


def test_an_admin_is_optional() -> None:
    settings = read(Settings, COMPLETE)
    assert settings.access_token_seconds == 900
    assert settings.admin_email is None


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"JWT_SECRET": ""}, "JWT_SECRET is not set"),
        ({"REDIS_URL": ""}, "REDIS_URL is not set"),
        ({"RABBITMQ_URL": ""}, "RABBITMQ_URL is not set"),
        ({"JWT_SECRET": "too short"}, "JWT_SECRET is malformed: write 32 bytes or more"),
        ({"ADMIN_EMAIL": "a@example.com"}, "ADMIN_PASSWORD is malformed: set both ADMIN_EMAIL and ADMIN_PASSWORD"),
        ({"ADMIN_PASSWORD": "long enough"}, "ADMIN_PASSWORD is malformed: set both ADMIN_EMAIL and ADMIN_PASSWORD"),
        ({"ADMIN_EMAIL": "a", "ADMIN_PASSWORD": "long enough"}, "ADMIN_EMAIL is malformed: write an e-mail address"),
        ({"ADMIN_EMAIL": "a@example.com", "ADMIN_PASSWORD": "short"}, "ADMIN_PASSWORD is malformed: a password has"),
    ],
)
def test_a_missing_or_malformed_setting_is_named(changed: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(Settings, COMPLETE | changed)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_secrets_are_not_part_of_the_repr() -> None:
    secrets = {"ADMIN_EMAIL": "a@example.com", "ADMIN_PASSWORD": "an admin's password"}
    printed = repr(read(Settings, COMPLETE | secrets))
    assert "0123456789abcdef" not in printed
    assert "an admin's password" not in printed
    assert "broker-password" not in printed
