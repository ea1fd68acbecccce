"""Reads the specs of the shops that are restored. Pure."""

from __future__ import annotations

from platform_operator.api.spec import Spec, parse
from platform_operator.cache.observed import Platform
from platform_operator.errors import InvalidSpecError, PlatformInvalidError


def spec_of(shop: Platform) -> Spec:
    """Returns the spec of a shop. Raises PlatformInvalidError."""
    try:
        return parse(shop.spec)
    except InvalidSpecError as error:
        text = f"The spec of EcommercePlatform {shop.key.name} is invalid: {error}."
        raise PlatformInvalidError(text) from error


def blocker_text(shop: Platform) -> str:
    """Returns what keeps the reconciler of a shop from stopping and starting its services; empty if nothing does."""
    if shop.spec.get("paused") or shop.spec.get("mode") == "Observe":
        return " But the shop is observed: set its spec.mode to Manage, and paused to false."
    try:
        spec_of(shop)
    except PlatformInvalidError as error:
        text = str(error)
        return f" But {text[0].lower()}{text[1:]}"
    return ""
