"""Applies the objects that a controller keeps, each once for each content."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from platform_operator.api.kinds import Kind, Manifest, ObjectKey, object_key
from platform_operator.cache.managed_fields import owned_digest
from platform_operator.client import KubernetesClient
from platform_operator.digests import digest


class Owned(Protocol):
    """An object as last seen."""

    @property
    def owned_digest(self) -> str:
        """The digest of the fields that the operator owns."""


@dataclass
class AppliedObjects:
    """Knows what this process has applied last of each object."""

    client: KubernetesClient
    _applied: dict[ObjectKey, tuple[str, str]] = field(init=False, default_factory=dict)
    """The digest of each object's content, and of the fields that the operator owned then."""

    async def apply_if_changed(
        self,
        kind: Kind,
        manifest: Manifest,
        known: Owned | None,
        require_own: Callable[[], Awaitable[None]] | None = None,
    ) -> Manifest | None:
        """Applies an object if its content is another than what was applied last, or another client removed fields.

        `known` is the object as last seen; None if it is not known. Before a write `require_own` raises if the object
        is another's. Returns the answer, None if nothing was written. Raises ApiError, and what `require_own` raises.
        """
        key, content = object_key(kind.kind, manifest), digest(manifest)
        if known is not None and self._applied.get(key) == (content, known.owned_digest):
            return None
        if require_own is not None:
            await require_own()
        answer = await self.client.apply(kind, key.namespace, manifest)
        self._applied[key] = content, owned_digest(answer)
        return answer

    def forget(self, is_gone: Callable[[ObjectKey], bool]) -> None:
        """Forgets objects that are gone."""
        self._applied = {key: applied for key, applied in self._applied.items() if not is_gone(key)}

    def __len__(self) -> int:
        return len(self._applied)
