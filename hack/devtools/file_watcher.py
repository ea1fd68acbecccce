"""Watches source files and names the services that a change concerns."""

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from watchfiles import awatch

_READ_BY_SERVICES = frozenset({".py", ".sql", ".toml", ".txt", ".html"})
"""Code, invariants, topology, mail templates."""
_QUIET_MILLISECONDS = 200
"""The quiet time that ends a change: an editor may format after saving, and a checkout writes many files."""


@dataclass(frozen=True, slots=True)
class Change:
    """The services whose source has changed, and those of them with a new migration."""

    of: frozenset[str] = frozenset()
    migrations_of: frozenset[str] = frozenset()


def change(paths: Iterable[PurePath], services: Collection[str]) -> Change:
    """Maps changed paths to services: a service's package concerns that service, shared packages concern all, tests
    concern none.
    """
    read = [path for path in paths if path.suffix in _READ_BY_SERVICES and "__pycache__" not in path.parts]
    return Change(
        frozenset(service for path in read for service in _readers(path, services)),
        frozenset(service for path in read if "migrations" in path.parts for service in _readers(path, services)),
    )


def _readers(path: PurePath, services: Collection[str]) -> Collection[str]:
    match path.parts:
        case ("services", "chassis", "chassis", *_) | ("proto", "shopapi", *_):
            return services
        case ("services", service, package, *_) if service in services and package == f"{service}_service":
            return [service]
    return []


async def changes(root: Path, services: Collection[str]) -> AsyncIterator[Change]:
    """Yields each change that concerns one of these services."""
    async for batch in awatch(root / "services", root / "proto", step=_QUIET_MILLISECONDS):
        found = change((Path(path).relative_to(root) for _, path in batch), services)
        if found.of:
            yield found
