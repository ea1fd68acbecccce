"""Reads the specs of the shops that are restored. Pure."""

from __future__ import annotations

from platform_operator.api.backups import RestoreReason
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


def stop_by_spec(shop: Platform) -> tuple[RestoreReason, str] | None:
    """Returns why the spec of a shop keeps its services stopped, so that no restore begins, or opens the shop: the spec
    may have been changed while it ran. None if it asks for a shop that runs."""
    if shop.spec.get("hibernated"):
        text = "The shop is hibernated by its spec: set spec.hibernated to false, or spec.suspended of its Tenant."
        return RestoreReason.HIBERNATED, text
    if shop.spec.get("closed"):
        text = "The shop is closed by its spec: set spec.closed to false, or spec.platform.closed of its Tenant."
        return RestoreReason.CLOSED, text
    return None
