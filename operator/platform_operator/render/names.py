"""The names of a shop in what its charts are rendered from and to. Pure.

The charts put names together and decide nothing by them. So what Helm prints for a placeholder, with the names filled
in, is what it prints for the names themselves.
"""

from __future__ import annotations

from typing import Any

from platform_operator.api.kinds import PlatformKey
from platform_operator.render.values import ChartValues

PLACEHOLDER = PlatformKey(namespace="namespace-of-the-shop-q7", name="name-of-the-shop-q7")
"""Takes the place of a shop's names. Neither is a part of the other."""

_NAMED = ("existingSecret", "url")
"""The fields of the charts' values in which `render.values` writes names of the shop."""


def take_out(values: ChartValues, key: PlatformKey) -> ChartValues:
    """Returns values with placeholders where they begin with the shop's name, or are its address in the cluster."""
    return {
        name: _without_names(value, key)
        if name in _NAMED
        else take_out(value, key)
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


def fill_in(text: str, key: PlatformKey) -> str:
    """Returns a text with the shop's names. They are DNS labels, so that JSON needs no escapes for them."""
    return text.replace(PLACEHOLDER.namespace, key.namespace).replace(PLACEHOLDER.name, key.name)
