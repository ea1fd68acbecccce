"""How many connections a pod may hold, so that all pods of a service together never ask its database for more than it has. Pure.

Stores keep the size they were made with while services scale (docs/adr/0005), so a shop may have many pods on a small database.
"""

from __future__ import annotations

import re

POOL = "DB_POOL_SIZE"
"""The variable that tells a service."""
USUAL = 10
"""What a service holds at most if nobody says otherwise (chassis.settings)."""
_FOR_BOOKS = 1
"""What each pod holds beside its pool, for its invariants."""
_SURGE = 1
"""Pods of the next release that start beside those of this one."""
_KEPT_FREE = 6
"""Three for the superuser, as PostgreSQL has it; the rest for a migration, a backup, and somebody who looks."""

_MEBIBYTES = {
    "": 2**-20, "Ki": 2**-10, "Mi": 1.0, "Gi": 2.0**10, "Ti": 2.0**20,
    "k": 1e3 / 2**20, "M": 1e6 / 2**20, "G": 1e9 / 2**20, "T": 1e12 / 2**20,
}  # fmt: skip


def pool(memory: str, pods: int) -> int:
    """Connections that each of at most so many pods may hold to a builtin database whose container may use `memory`.

    At least 1, which is too much for a database that has fewer than two connections for each pod.
    """
    shares = (max_connections(memory) - _KEPT_FREE) // (pods + _SURGE)
    return max(1, min(USUAL, shares - _FOR_BOOKS))


def max_connections(memory: str) -> int:
    """What charts/postgres gives a server for its memory; of a memory that the chart refuses, what it has at least."""
    return max(40, _mebibytes(memory) * 60 // 256)


def _mebibytes(quantity: str) -> int:
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity)
    return int(float(found[1]) * _MEBIBYTES.get(found[2], 0.0)) if found else 0
