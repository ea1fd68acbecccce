"""A process with an invalid environment does not start, and writes one line that says why."""

from pathlib import Path

import pytest
from chassis.errors import SettingsError
from chassis.settings import (
    Address,
    BackendSettings,
    GrpcAuthentication,
    GrpcCalleeSettings,
    GrpcCallerSettings,
    MigrationSettings,
    RedisSettings,
    load,
    read,
)
from chassis_testing.tls import Authority

COMPLETE = {
    "DB_HOST": "db", "DB_USER": "u", "DB_PASSWORD": "p", "DB_NAME": "n", "USER_GRPC": "user:9091", "GRPC_PORT": "9092",
    "RABBITMQ_URL": "amqp://broker",
}  # fmt: skip


class Backend(BackendSettings):
    user_grpc: Address


def test_a_complete_environment_gives_settings() -> None:
    settings = read(Backend, {**COMPLETE, "DB_PORT": "6432", "UNRELATED": "x"})

    assert (settings.db_host, settings.db_port, settings.user_grpc) == ("db", 6432, "user:9091")


@pytest.mark.parametrize("variable", sorted(COMPLETE))
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_variable_is_named(variable: str, value: str | None) -> None:
    environment = {name: v for name, v in COMPLETE.items() if name != variable} | (
        {variable: value} if value is not None else {}
    )

    with pytest.raises(SettingsError, match=f"^{variable} is not set$"):
        read(Backend, environment)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("DB_PORT", "many"), ("DB_PORT", "70000"), ("USER_GRPC", "user"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")],
)
def test_a_malformed_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is malformed: "):
        read(Backend, {**COMPLETE, variable: value})


def test_a_secret_may_be_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from a file\n")

    settings = read(Backend, {**COMPLETE, "DB_PASSWORD": "", "DB_PASSWORD_FILE": str(file)})

    assert settings.db_password == "from a file"


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("", "^DB_PASSWORD_FILE names no file that can be read: /nowhere$"),
        ("hunter2", "^DB_PASSWORD and DB_PASSWORD_FILE are both set"),
    ],
)
def test_an_ambiguous_or_unreadable_file_is_named(password: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read(Backend, {**COMPLETE, "DB_PASSWORD": password, "DB_PASSWORD_FILE": "/nowhere"})


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ({"DB_RUNTIME_USER": "runtime"}, "^set both of DB_RUNTIME_USER and DB_RUNTIME_PASSWORD, or none of them$"),
        ({"DB_RUNTIME_PASSWORD": "secret"}, "^set both of DB_RUNTIME_USER and DB_RUNTIME_PASSWORD, or none of them$"),
        ({"DB_RUNTIME_USER": "u", "DB_RUNTIME_PASSWORD": "secret"}, "^DB_RUNTIME_USER is DB_USER, the owner: "),
        ({"DB_RUNTIME_USER": "runtime", "DB_RUNTIME_PASSWORD": "pässword"}, "^DB_RUNTIME_PASSWORD is malformed: "),
    ],
)
def test_a_migration_with_half_a_runtime_role_or_the_owner_does_not_start(role: dict[str, str], message: str) -> None:
    assert not read(MigrationSettings, COMPLETE).db_runtime_user
    with pytest.raises(SettingsError, match=message):
        read(MigrationSettings, {**COMPLETE, **role})


@pytest.mark.parametrize("used", ["u", "r"])
def test_a_role_that_is_used_is_not_retired(used: str) -> None:
    roles = {"DB_RUNTIME_USER": "r", "DB_RUNTIME_PASSWORD": "p"}
    assert read(MigrationSettings, {**COMPLETE, **roles, "DB_RUNTIME_RETIRED_USER": "former"}).db_runtime_retired_user
    with pytest.raises(SettingsError, match="DB_RUNTIME_RETIRED_USER is a role that is used:"):
        read(MigrationSettings, {**COMPLETE, **roles, "DB_RUNTIME_RETIRED_USER": used})


def test_an_invalid_environment_ends_the_start_with_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, value in {**COMPLETE, "DB_HOST": "", "DB_PORT": "x", "DB_PASSWORD": "hunter2"}.items():
        monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as stop:
        load(Backend)

    assert stop.value.code == 78
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "DB_HOST is not set; DB_PORT is malformed" in error
    assert "hunter2" not in error


class Caller(GrpcCallerSettings):
    user_grpc: Address
    order_grpc: Address


CALLS = {"USER_GRPC": "user:9091", "ORDER_GRPC": "order:9095"}


def test_a_caller_has_a_token_for_each_neighbour() -> None:
    settings = read(Caller, {**CALLS, "GRPC_TOKENS": f"user={'u' * 32}, order={'o' * 43}"})

    assert settings.grpc_tokens == {"user": "u" * 32, "order": "o" * 43}
    assert "uuu" not in repr(settings)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ("", "^GRPC_TOKENS is not set$"),
        (f"user={'u' * 32}", "^GRPC_TOKENS has no token for order: add it$"),
        (f"user={'u' * 31},order={'o' * 32}", "^GRPC_TOKENS is malformed: write service=value pairs"),
        ("hunter2", "^GRPC_TOKENS is malformed: write service=value pairs"),
    ],
)
def test_a_caller_without_all_its_tokens_does_not_start(tokens: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        read(Caller, {**CALLS, "GRPC_TOKENS": tokens})

    assert "uuu" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_callee_knows_each_caller_by_one_digest_or_more_and_requires_tokens() -> None:
    settings = read(GrpcCalleeSettings, {"GRPC_CALLERS": f"order={'a' * 64},order={'b' * 64},review={'c' * 64}"})

    assert settings.grpc_callers == {"a" * 64: "order", "b" * 64: "order", "c" * 64: "review"}
    assert settings.grpc_authentication == GrpcAuthentication.REQUIRED


@pytest.mark.parametrize("callers", [None, "order", f"order={'A' * 64}", f"order={'a' * 63}", f"={'a' * 64}"])
def test_a_callee_without_digests_does_not_start(callers: str | None) -> None:
    with pytest.raises(SettingsError, match=r"^GRPC_CALLERS is (not set$|malformed: )"):
        read(GrpcCalleeSettings, {"GRPC_CALLERS": callers} if callers else {})


class Cached(RedisSettings):
    pass


@pytest.mark.parametrize("variable", ["DB_CA", "RABBITMQ_CA"])
def test_an_authority_is_a_certificate(variable: str) -> None:
    encrypted = {**COMPLETE, "RABBITMQ_URL": "amqps://broker"}

    assert read(Backend, {**encrypted, variable: Authority().pem})
    assert read(Backend, {**encrypted, variable: "system"})
    for malformed in ("/tls/ca.crt", "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU="):
        with pytest.raises(SettingsError, match=f"^{variable} is malformed: .*PEM"):
            read(Backend, {**encrypted, variable: malformed})


def test_an_authority_that_would_verify_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^RABBITMQ_CA is set, but RABBITMQ_URL is not encrypted"):
        read(Backend, {**COMPLETE, "RABBITMQ_CA": "system"})
    with pytest.raises(SettingsError, match=r"^REDIS_CA is set, but REDIS_URL is not encrypted"):
        read(Cached, {"REDIS_URL": "redis://redis:6379/0", "REDIS_CA": "system"})
    assert read(Cached, {"REDIS_URL": "rediss://redis:6379/0"}).redis_ca == ""
