"""The services of a shop, read from their declaration in proto/shopapi/services.toml."""

import hashlib
import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """One service: its ports, the stores that it uses, and the services whose gRPC it calls."""

    http: int
    cache: bool
    broker: bool
    neighbours: tuple[str, ...]
    grpc: int | None = None
    database: str | None = None


def load_services(declaration: str) -> dict[str, ServiceDefinition]:
    """Returns the services of a declaration by name, in its order. Raises TypeError for a missing or unknown field."""
    return {
        name: ServiceDefinition(**{**row, "neighbours": tuple(row["neighbours"])})
        for name, row in tomllib.loads(declaration).items()
    }


SERVICES: Mapping[str, ServiceDefinition] = load_services(
    (importlib.resources.files("shopapi") / "services.toml").read_text()
)


def grpc_credentials(service: str, secret: str) -> dict[str, str]:
    """Returns GRPC_TOKENS and GRPC_CALLERS of a service, derived from a secret as charts/common derives them."""
    callers = [caller for caller, definition in SERVICES.items() if service in definition.neighbours]
    tokens = {neighbour: _grpc_token(secret, service, neighbour) for neighbour in SERVICES[service].neighbours}
    digests = {caller: _sha256(_grpc_token(secret, caller, service)) for caller in callers}
    credentials = {"GRPC_TOKENS": _pairs(tokens), "GRPC_CALLERS": _pairs(digests)}
    return {variable: value for variable, value in credentials.items() if value}


def _grpc_token(secret: str, caller: str, callee: str) -> str:
    return _sha256(f"{secret}/{caller}/{callee}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _pairs(values: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in values.items())
