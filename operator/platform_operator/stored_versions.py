"""Migrates stored platforms to the storage version of their definition, so that an older version can be removed.

The API server writes an object in the storage version, and never rewrites one that is stored in another. The definition
lists in `status.storedVersions` every version that objects may be stored in, and cannot lose a version while it is in
that list. So the operator writes every platform as it is, and then removes the former versions from the list.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from platform_operator.api.kinds import CRD, PLATFORM, Kind, Manifest
from platform_operator.errors import ApiError

logger = logging.getLogger(__name__)

CHECK_INTERVAL = 600.0
"""Seconds between two checks of the definition, which changes with a release."""


class ObjectRewriter(Protocol):
    """The verbs that the migration needs."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None: ...

    def pages(
        self, kind: Kind, namespace: str | None, selector: str
    ) -> AsyncIterator[tuple[Sequence[Manifest], int]]: ...

    async def overwrite(
        self, kind: Kind, namespace: str, name: str, fields: Manifest, subresource: str = ""
    ) -> object: ...


@dataclass
class StorageVersionMigrator:
    """Rewrites the platforms of the whole cluster in the storage version, those of other operator classes included."""

    client: ObjectRewriter
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    kind: Kind = PLATFORM

    @property
    def definition(self) -> str:
        """The name of the definition of the kind."""
        return f"{self.kind.plural}.{self.kind.group}"

    async def run(self) -> None:
        """Migrates at each interval, since the definition may be applied after the operator has started."""
        while True:
            try:
                await self.migrate()
            except ApiError as error:
                logger.warning("cannot migrate the stored versions of %s: %s", self.definition, error)
            await self.sleep(CHECK_INTERVAL)

    async def migrate(self) -> None:
        """Rewrites all platforms, and then removes the former versions from the definition's list. Raises ApiError.

        The list is written only to the definition that was read before: if its storage version has changed since, the
        API server answers 409.
        """
        definition = await self.client.get(CRD, "", self.definition)
        if definition is None:
            return
        storage = _storage_version(definition)
        if definition["status"]["storedVersions"] == [storage]:
            return
        count = await self._rewrite_all()
        trimmed = {"metadata": _identity(definition), "status": {"storedVersions": [storage]}}
        await self.client.overwrite(CRD, "", self.definition, trimmed, subresource="status")
        logger.info("all platforms are stored in %s, %d rewritten", storage, count)

    async def _rewrite_all(self) -> int:
        count = 0
        async for page, _ in self.client.pages(self.kind, None, ""):
            for platform in page:
                await self._rewrite(platform)
                count += 1
        return count

    async def _rewrite(self, platform: Manifest) -> None:
        """Sends a patch that changes nothing: the API server stores the object if it is stored in another version.

        An object that was changed or deleted since it was read, which is a 409 or 404, needs no rewrite.
        """
        metadata = platform["metadata"]
        try:
            fields = {"metadata": _identity(platform)}
            await self.client.overwrite(self.kind, metadata["namespace"], metadata["name"], fields)
        except ApiError as error:
            if error.status not in (404, 409):
                raise


def _storage_version(definition: Manifest) -> str:
    (name,) = (version["name"] for version in definition["spec"]["versions"] if version["storage"])
    return str(name)


def _identity(manifest: Manifest) -> dict[str, Any]:
    """Returns the metadata that make a patch fail with 409 if the object is another one, or has changed."""
    return {name: manifest["metadata"][name] for name in ("uid", "resourceVersion")}
