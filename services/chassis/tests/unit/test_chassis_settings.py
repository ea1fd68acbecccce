"""A process with an invalid environment does not start, and writes one line that says why."""

from pathlib import Path

import pytest
from chassis.errors import SettingsError
from chassis.settings import Address, BackendSettings, load, read

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
