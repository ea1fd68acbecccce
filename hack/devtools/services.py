"""The services of a shop, read from their declaration in proto/shopapi/services.toml."""

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
