"""Replaces the names of a shop in its values with placeholders, so that shops share one output of Helm. Pure.

The charts concatenate names and have no conditions on them. So the output for the placeholders, with the names filled
in, equals the output for the names.
"""

from __future__ import annotations

from typing import Any

from platform_operator.api.kinds import PlatformKey
from platform_operator.render.values import ChartValues

PLACEHOLDER = PlatformKey(namespace="namespace-of-the-shop-q7", name="name-of-the-shop-q7")
"""The placeholders of a shop's names. Neither contains the other."""

_NAMED = ("existingSecret", "url")
"""The fields of the charts' values in which `render.values` writes names of the shop."""


def replace_names(values: ChartValues, key: PlatformKey) -> ChartValues:
    """Returns the values with placeholders for the shop's names: as a prefix of a name, and in its cluster address."""
    return {
        name: _without_names(value, key)
        if name in _NAMED
        else replace_names(value, key)
        if isinstance(value, dict)
        else value
        for name, value in values.items()
    }


def _without_names(value: Any, key: PlatformKey) -> Any:
    if not isinstance(value, str):
        return value
    address = f"//{key.name}-gateway.{key.namespace}."
    if value.startswith(f"{key.name}-"):
        return PLACEHOLDER.name + value.removeprefix(key.name)
    return value.replace(address, f"//{PLACEHOLDER.name}-gateway.{PLACEHOLDER.namespace}.")


def fill_in_names(text: str, key: PlatformKey) -> str:
    """Returns a text with the shop's names for the placeholders. They are DNS labels, which JSON need not escape."""
    return text.replace(PLACEHOLDER.namespace, key.namespace).replace(PLACEHOLDER.name, key.name)
