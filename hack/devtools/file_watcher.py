"""Which services a change of files concerns."""

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from watchfiles import awatch

_READ_BY_SERVICES = frozenset({".py", ".sql", ".toml", ".txt", ".html"})
"""Code, invariants, the events' topology, templates of mails."""
_QUIET_MILLISECONDS = 200
"""A change ends when nothing has changed for so long: an editor that formats, a branch that is checked out."""


@dataclass(frozen=True, slots=True)
class Change:
    """What changed at once: services that no longer run what is written, and those of them with a migration that is new."""

    of: frozenset[str] = frozenset()
    migrations_of: frozenset[str] = frozenset()


def change(paths: Iterable[PurePath], services: Collection[str]) -> Change:
    """Of paths in the repository: a service's package concerns that service, what all share concerns all, tests nobody."""
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
    """Every change from now on that concerns one of these services."""
    async for batch in awatch(root / "services", root / "proto", step=_QUIET_MILLISECONDS):
        found = change((Path(path).relative_to(root) for _, path in batch), services)
        if found.of:
            yield found
