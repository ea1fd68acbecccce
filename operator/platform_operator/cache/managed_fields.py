"""Field ownership, read from `metadata.managedFields` (server-side apply). Pure.

A field is named by its path in fieldsV1, one key a line: `f:spec`, `f:containers`, `k:{"name":"order"}`, `f:image`.
Another writer that changes or removes a field takes it out of the operator's set (structured-merge-diff). So drift is
an unequal digest of that set, and an equal digest is no drift.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from platform_operator.api.kinds import FIELD_MANAGER, HANDOVER_MANAGER, Manifest
from platform_operator.digests import digest

MAX_FOREIGN_FIELDS = 32
"""Fields of other managers that are kept for each object, so that no one can fill the cache by writing fields."""
MAX_PATH_LENGTH = 512
"""Characters of a path. A field with a longer one is not kept."""


@dataclass(frozen=True, slots=True)
class ForeignField:
    """A field that another manager owns and the operator does not."""

    manager: str
    path: str


def owned_digest(manifest: Manifest) -> str:
    """Returns the digest of the fields that the operator's last apply still owns; empty if it owns none."""
    fields = owned_fields(manifest)
    return digest(fields) if fields else ""


def owned_fields(manifest: Manifest) -> Manifest:
    for entry in manifest["metadata"].get("managedFields") or ():
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            fields: Manifest = entry.get("fieldsV1") or {}
            return fields
    return {}


def foreign_fields(manifest: Manifest) -> tuple[ForeignField, ...]:
    """Returns the fields that only other managers own, those of the newest write first. Status does not count."""
    own = owned_fields(manifest)
    entries = [entry for entry in manifest["metadata"].get("managedFields") or () if _is_foreign(entry)]
    entries.sort(key=lambda entry: str(entry.get("time", "")), reverse=True)
    found = (
        ForeignField(sys.intern(str(entry.get("manager", ""))), sys.intern("\n".join(path)))
        for entry in entries
        for path in _leaves(entry.get("fieldsV1") or {})
        if not _owns(own, path) and sum(map(len, path)) <= MAX_PATH_LENGTH
    )
    return tuple(islice(found, MAX_FOREIGN_FIELDS))


def _is_foreign(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") not in (FIELD_MANAGER, HANDOVER_MANAGER) and entry.get("subresource") != "status"


def _leaves(fields: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in fields.items():
        if name == ".":  # the parent itself; the fields within it are enough
            continue
        if inner:
            yield from _leaves(inner, (*path, name))
        else:
            yield (*path, name)


def _owns(fields: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    node: Any = fields
    for name in path:
        if name not in node:
            return False
        node = node[name]
    return True


def sets_field(manifest: Manifest, path: str) -> bool:
    """Returns whether a manifest states the field."""
    nodes: list[Any] = [manifest]
    for name in path.split("\n"):
        nodes = [inner for node in nodes for inner in _step(node, name)]
    return bool(nodes)


def _step(node: Any, name: str) -> Iterator[Any]:
    kind, _, value = name.partition(":")
    if kind == "f" and isinstance(node, dict) and value in node:
        yield node[value]
    elif kind == "k" and isinstance(node, list):
        keys = json.loads(value)
        yield from (item for item in node if all(item.get(key, inner) == inner for key, inner in keys.items()))
    elif kind == "v" and isinstance(node, list):
        yield from (item for item in node if item == json.loads(value))


def readable_path(path: str) -> str:
    """Returns a path as a person would write it: `spec.containers[name=order].image`."""
    return "".join(_readable(name) for name in path.split("\n")).removeprefix(".")


def _readable(name: str) -> str:
    kind, _, value = name.partition(":")
    if kind == "f":
        return f"[{value}]" if "." in value or "/" in value else f".{value}"
    if kind == "k":
        return "[" + ",".join(f"{key}={inner}" for key, inner in json.loads(value).items()) + "]"
    return f"[{value}]"
