"""Settings come from the environment alone. What is missing or malformed stops the start with one line that names it.

A secret may come in a file instead, as Docker mounts them: `JWT_SECRET_FILE` names the one whose content is `JWT_SECRET`.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from chassis.errors import SettingsError


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("write host:port")
    return value


def _url(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"write {schemes[0]}://host:port")
        return value

    return AfterValidator(check)


Address = Annotated[str, AfterValidator(_address)]
HttpUrl = Annotated[str, _url("http", "https")]
RedisUrl = Annotated[str, _url("redis", "rediss", "unix")]
AmqpUrl = Annotated[str, _url("amqp", "amqps")]
Port = Annotated[int, Field(ge=0, le=65535)]


class Environment(BaseModel):
    """A group of settings: the field `db_host` is the variable `DB_HOST`."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class DatabaseSettings(Environment):
    db_host: Annotated[str, Field(min_length=1)]
    db_port: Port = 5432
    db_user: Annotated[str, Field(min_length=1)]
    db_password: str
    db_name: Annotated[str, Field(min_length=1)]
    db_pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    """Connections one process holds at most."""
    db_connect_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 3.0
    """How long a request waits for a free connection, and that for the server to let it in; then it is answered 503."""


class LogSettings(Environment):
    """What every process says of itself in its log."""

    log_level: str = "INFO"
    tenant: str = "local"


class ServiceSettings(LogSettings):
    """What every service reads."""

    http_port: Port = 8080
    metrics_port: Port = 9464
    shutdown_drain_seconds: Annotated[float, Field(ge=0, le=60)] = 5.0
    """How long a stopping process still serves, so that endpoints and clients stop choosing it first."""
    otel_exporter_otlp_endpoint: HttpUrl | None = None
    service_version: str = "dev"


class MigrationSettings(LogSettings, DatabaseSettings):
    """All that bringing a database to the newest schema needs: no provider, no broker, no neighbour."""


class BackendSettings(ServiceSettings, DatabaseSettings):
    """What every service with a database and gRPC reads."""

    grpc_port: Port
    rabbitmq_url: Annotated[AmqpUrl, Field(repr=False)]


_S = TypeVar("_S", bound=Environment)


def read(settings: type[_S], environment: Mapping[str, str]) -> _S:
    """Raises SettingsError."""
    try:
        return settings.model_validate(
            {name: value for name in settings.model_fields if (value := _value(name.upper(), environment))}
        )
    except ValidationError as error:
        raise SettingsError(
            "; ".join(
                _complaint("/".join(map(str, e["loc"])), e["type"], e["msg"]) for e in error.errors(include_input=False)
            )
        ) from None


def load(settings: type[_S]) -> _S:
    """The process's settings; where the environment has none, one line on stderr and exit code 78 (EX_CONFIG of sysexits.h)."""
    try:
        return read(settings, os.environ)
    except SettingsError as error:
        sys.stderr.write(f"configuration: {error}\n")
        raise SystemExit(os.EX_CONFIG) from None


def _value(variable: str, environment: Mapping[str, str]) -> str:
    """Empty where it is not set. Raises SettingsError."""
    value, file = environment.get(variable, ""), environment.get(f"{variable}_FILE", "")
    if not file:
        return value
    if value:
        raise SettingsError(f"{variable} and {variable}_FILE are both set: unset one of them")
    try:
        return Path(file).read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{variable}_FILE names no file that can be read: {file}") from None


def _complaint(field: str, kind: str, message: str) -> str:
    variable = field.upper()
    if kind == "missing":
        return f"{variable} is not set"
    return f"{variable} is malformed: {message.removeprefix('Value error, ')}"
