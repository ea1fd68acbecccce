"""Settings, read from the environment only. An invalid environment stops the start, with one line that says why.

A secret may also be in a file, as Docker mounts secrets: `JWT_SECRET_FILE` is the path of the file with the value of
`JWT_SECRET`.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from chassis.errors import SettingsError
from chassis.tls import client_context
from chassis.types.currencies import DECIMALS


def _validate_address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("write host:port")
    return value


def _url_validator(*schemes: str) -> AfterValidator:
    def validate(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"write {schemes[0]}://host:port")
        return value

    return AfterValidator(validate)


def _validate_authorities(value: str) -> str:
    if value:
        client_context(value)
    return value


Address = Annotated[str, AfterValidator(_validate_address)]
HttpUrl = Annotated[str, _url_validator("http", "https")]
RedisUrl = Annotated[str, _url_validator("redis", "rediss", "unix")]
AmqpUrl = Annotated[str, _url_validator("amqp", "amqps")]
Authorities = Annotated[str, AfterValidator(_validate_authorities), Field(repr=False)]
"""Certificates of authorities in PEM, or `system`; or empty."""
Port = Annotated[int, Field(ge=0, le=65535)]


class Environment(BaseModel):
    """A group of settings. The field `db_host` is read from the variable `DB_HOST`."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class DatabaseSettings(Environment):
    """The address of the service's database, and the limits of its connections."""

    db_host: Annotated[str, Field(min_length=1)]
    """The host name of the PostgreSQL server."""
    db_port: Port = 5432
    """The port of the PostgreSQL server. The default is PostgreSQL's own."""
    db_user: Annotated[str, Field(min_length=1)]
    """The role that the service logs in as."""
    db_password: str
    """The password of that role."""
    db_name: Annotated[str, Field(min_length=1)]
    """The name of the service's own database."""
    db_ca: Authorities = ""
    """The authority that has signed the certificate of the PostgreSQL server: its certificate in PEM, or `system`.

    With it every connection is encrypted, and a server is refused whose certificate or host name is wrong; `system`
    are the authorities that the image trusts. Without it a connection is encrypted if the server offers that, and
    nothing is verified.
    """
    db_pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    """The largest number of connections that one process holds for its transactions."""
    db_connect_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 3.0
    """How long a request waits for a free connection, and a new connection for the server, in seconds.

    After that the request is answered with 503.
    """


class LogSettings(Environment):
    """The settings of a process's log."""

    log_level: str = "INFO"
    """The least severe level that is logged: DEBUG, INFO, WARNING, ERROR or CRITICAL."""
    tenant: str = "local"
    """The name of the platform that the process belongs to, which each log line and trace carries."""


class ServiceSettings(LogSettings):
    """The settings of every service."""

    http_port: Port = 8080
    """The port of the HTTP API."""
    http_max_connections: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """How many connections the HTTP API of one process has. A new one takes the place of the longest idle one."""
    http_max_connections_per_address: Annotated[int, Field(ge=1, le=100_000)] = 300
    """How many of them one address has, or one IPv6 /64, unless it is a trusted proxy.

    A gateway opens up to `UPSTREAM_SLOTS` connections to a service.
    """
    metrics_port: Port = 9464
    """The port of the Prometheus metrics. The default is that of OpenTelemetry's Prometheus exporter."""
    shutdown_drain_seconds: Annotated[float, Field(ge=0, le=60)] = 5.0
    """How long a stopping process still accepts requests, in seconds.

    In that time the endpoints and the clients learn that they have to use another pod.
    """
    otel_exporter_otlp_endpoint: HttpUrl | None = None
    """The URL of the OTLP collector that receives the traces. Without it no trace is exported."""
    service_version: str = "dev"
    """The version of the service, for the OpenAPI document and the traces."""


def validate_currency(code: str) -> str:
    """Returns the code if it is a currency of ISO 4217. Raises ValueError."""
    if code not in DECIMALS:
        raise ValueError(f"{code[:20]!r} is no currency of ISO 4217: write for example USD")
    return code


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class CurrencySettings(Environment):
    """The currencies of the shop: settings that have to be the same in every service."""

    currencies: Annotated[tuple[Annotated[str, AfterValidator(validate_currency)], ...], BeforeValidator(_split)] = ()
    """The currencies in which the shop sells, separated by commas: USD,EUR. Without it, every currency of ISO 4217."""

    @property
    def offered_currencies(self) -> frozenset[str]:
        return frozenset(self.currencies or DECIMALS)


class ResendSettings(LogSettings, DatabaseSettings):
    """The settings of a resend: the database and the log, but no broker and no other service."""


class MigrationSettings(LogSettings, DatabaseSettings):
    """The settings of a migration, which logs in as the owner of the database, and grants the service its role."""

    db_runtime_user: str = ""
    """The role that the service logs in as: a migration creates it and grants it what the service needs.

    Without it, the service logs in as the owner.
    """
    db_runtime_password: Annotated[str, Field(repr=False, pattern="^[ -~]*$")] = ""
    """The password of that role, in ASCII characters."""
    db_previous_password: Annotated[str, Field(repr=False, pattern="^[ -~]*$")] = ""
    """The former password of the owner, in ASCII characters: if it still opens the database, the migration replaces it
    by `DB_PASSWORD`."""
    db_migrated_at: str = ""
    """The time of a migration of this database, if there was one.

    A database without a schema has then lost its data: the migration changes nothing and exits with 65.
    """
    db_runtime_retired_user: str = ""
    """The role that the service logged in as before it was rotated: a migration ends its connections and its login."""

    @model_validator(mode="after")
    def _has_a_whole_runtime_role(self) -> Self:
        if bool(self.db_runtime_user) != bool(self.db_runtime_password):
            raise ValueError("set both of DB_RUNTIME_USER and DB_RUNTIME_PASSWORD, or none of them")
        if self.db_runtime_user == self.db_user:
            raise ValueError("DB_RUNTIME_USER is DB_USER, the owner: name another role, or leave it out")
        if self.db_runtime_retired_user and self.db_runtime_retired_user in (self.db_user, self.db_runtime_user):
            raise ValueError("DB_RUNTIME_RETIRED_USER is a role that is used: name the former one, or leave it out")
        return self


class RedisSettings(Environment):
    """The Redis of the shop, of services that use it."""

    redis_url: Annotated[RedisUrl, Field(repr=False)]
    """The URL of the Redis of the shop, with its password. With `rediss://` the server's certificate is verified.

    It has the counters of requests, the sessions that have ended, and cached products and answers.
    """
    redis_ca: Authorities = ""
    """The authority that has signed the certificate of Redis: its certificate in PEM, or `system`, the default."""

    @model_validator(mode="after")
    def _uses_its_authority(self) -> Self:
        _require_tls("REDIS", "rediss", self.redis_url, self.redis_ca)
        return self


def _require_tls(store: str, scheme: str, url: str, authorities: str) -> None:
    """Refuses an authority that no connection would be verified by. Raises ValueError."""
    if authorities and urlsplit(url).scheme != scheme:
        raise ValueError(f"{store}_CA is set, but {store}_URL is not encrypted: write {scheme}://host:port")


class BackendSettings(ServiceSettings, DatabaseSettings):
    """The settings of every service with a database and gRPC."""

    grpc_port: Port
    """The port of the gRPC server."""
    rabbitmq_url: Annotated[AmqpUrl, Field(repr=False)]
    """The URL of the broker, with its user, password and virtual host.

    With a user that is named for the service (`order`, or `<shop>.order`), the service sends events in its own name and
    refuses those that another service than their producer sent.
    """
    rabbitmq_ca: Authorities = ""
    """The authority that has signed the certificate of RabbitMQ: its certificate in PEM, or `system`, the default.

    Certificates are verified if `RABBITMQ_URL` is `amqps://`.
    """
    outbox_retention_seconds: Annotated[float, Field(gt=0, le=29 * 86_400)] = 7 * 86_400.0
    """How long events are kept after the broker has confirmed them, so that they can be resent, in seconds.

    At most 29 days: consumers recognize an event that they have received for 30 days.
    """

    @model_validator(mode="after")
    def _uses_the_authority_of_its_broker(self) -> Self:
        _require_tls("RABBITMQ", "amqps", self.rabbitmq_url, self.rabbitmq_ca)
        return self


def _pairs(text: str, value: str) -> Iterator[tuple[str, str]]:
    """Yields the pairs of `name=value,name=value`. Raises ValueError, whose message has no part of the text."""
    for pair in text.split(","):
        found = re.fullmatch(rf"([a-z][a-z0-9]*)=({value})", pair.strip())
        if found is None:
            raise ValueError(f"write service=value pairs, separated by commas, each value of the form {value}")
        yield found[1], found[2]


def _parse_tokens(value: object) -> object:
    return dict(_pairs(value, "[A-Za-z0-9_-]{32,}")) if isinstance(value, str) else value


def _parse_callers(value: object) -> object:
    if not isinstance(value, str):
        return value
    return {digest: caller for caller, digest in _pairs(value, "[0-9a-f]{64}")}


class GrpcCallerSettings(Environment):
    """The tokens of a service that calls others by gRPC; `<name>_grpc` is the address of the service `<name>`."""

    grpc_tokens: Annotated[Mapping[str, str], BeforeValidator(_parse_tokens), Field(repr=False)]
    """This service's secret token for each service that it calls: user=TOKEN,product=TOKEN."""

    @model_validator(mode="after")
    def _has_a_token_for_each_neighbour(self) -> Self:
        neighbours = {name.removesuffix("_grpc") for name in type(self).model_fields if name.endswith("_grpc")}
        missing = sorted(neighbours - self.grpc_tokens.keys())
        if missing:
            raise ValueError(f"GRPC_TOKENS has no token for {', '.join(missing)}: add it")
        return self


class GrpcAuthentication(StrEnum):
    """The rule for calls without a token: they are refused, or answered."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class GrpcCalleeSettings(Environment):
    """The callers of a service that is called by gRPC."""

    grpc_callers: Annotated[Mapping[str, str], BeforeValidator(_parse_callers), Field(repr=False)]
    """The SHA-256 digests of its callers' tokens: order=DIGEST,review=DIGEST.

    A caller has two while its token is replaced.
    """
    grpc_authentication: GrpcAuthentication = GrpcAuthentication.REQUIRED
    """How a call without a token is treated: refused (`required`), or answered (`optional`).

    `optional` is only for the upgrade of a running shop from a release whose services send no token.
    """


_S = TypeVar("_S", bound=Environment)


def load(settings: type[_S]) -> _S:
    """Returns the settings of this process.

    Where the environment is invalid, writes one line to stderr and exits with code 78 (EX_CONFIG of sysexits.h).
    """
    try:
        return read(settings, os.environ)
    except SettingsError as error:
        sys.stderr.write(f"configuration: {error}\n")
        raise SystemExit(os.EX_CONFIG) from None


def read(settings: type[_S], environment: Mapping[str, str]) -> _S:
    """Returns the settings that an environment has. Raises SettingsError."""
    try:
        return settings.model_validate(
            {name: value for name in settings.model_fields if (value := _value(name.upper(), environment))}
        )
    except ValidationError as error:
        messages = [
            _message("/".join(map(str, e["loc"])), e["type"], e["msg"]) for e in error.errors(include_input=False)
        ]
        raise SettingsError("; ".join(messages)) from None


def _value(variable: str, environment: Mapping[str, str]) -> str:
    """Returns the value of a variable or of its file, empty where neither is set. Raises SettingsError."""
    value, file = environment.get(variable, ""), environment.get(f"{variable}_FILE", "")
    if not file:
        return value
    if value:
        raise SettingsError(f"{variable} and {variable}_FILE are both set: unset one of them")
    try:
        return Path(file).read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{variable}_FILE names no file that can be read: {file}") from None


def _message(field: str, error_type: str, message: str) -> str:
    variable = field.upper()
    if error_type == "missing":
        return f"{variable} is not set"
    if not field:
        return message.removeprefix("Value error, ")
    return f"{variable} is malformed: {message.removeprefix('Value error, ')}"
