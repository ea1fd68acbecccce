"""Sizes the connection pools of a service, so that all its pods together fit the connections of its database. Pure.

Stores keep the size they were made with while services scale (docs/adr/0005), so a shop may have many pods on a small
database.
"""

from __future__ import annotations

import re

POOL_SIZE_VARIABLE = "DB_POOL_SIZE"
"""The environment variable that sets the size of a service's pool."""
DEFAULT_POOL_SIZE = 10
"""Connections in a service's pool if the variable is not set (chassis.settings)."""
_FOR_INVARIANTS = 1
"""Connections that each pod holds beside its pool, to check its invariants."""
_SURGE = 1
"""Pods of the next release that start beside those of this one."""
_RESERVED = 6
"""Three for the superuser, as PostgreSQL has it; the rest for a migration, a backup and an administrator."""

_MEBIBYTES = {
    "": 2**-20, "Ki": 2**-10, "Mi": 1.0, "Gi": 2.0**10, "Ti": 2.0**20,
    "k": 1e3 / 2**20, "M": 1e6 / 2**20, "G": 1e9 / 2**20, "T": 1e12 / 2**20,
}  # fmt: skip


def pool_size(memory: str, pods: int) -> int:
    """Returns the connections that each of at most `pods` pods may pool to a builtin database with that memory limit.

    At least 1, which is too much for a database that has fewer than two connections for each pod.
    """
    shares = (max_connections(memory) - _RESERVED) // (pods + _SURGE)
    return max(1, min(DEFAULT_POOL_SIZE, shares - _FOR_INVARIANTS))


def max_connections(memory: str) -> int:
    """Returns the `max_connections` that charts/postgres sets for a memory limit; for one that the chart refuses, the
    minimum."""
    return max(40, _mebibytes(memory) * 60 // 256)


def _mebibytes(quantity: str) -> int:
    parts = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity)
    return int(float(parts[1]) * _MEBIBYTES.get(parts[2], 0.0)) if parts else 0
