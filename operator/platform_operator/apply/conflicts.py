"""Reads a shop again after the API server has refused a write as out of date.

An operator that has just become the leader may know a shop as it was before the last writes of the former one. Waiting
for its watches would not help: one that is broken brings nothing until that is noticed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from platform_operator.api.kinds import CHILD_KINDS, PLATFORM, PlatformKey
from platform_operator.apply.inventory_store import inventory_id
from platform_operator.apply.ownership import is_ours
from platform_operator.cache.observed import observe, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.secrets.rotation import rotation_id
from platform_operator.secrets.salt import salt_id


@asynccontextmanager
async def reading_again(client: KubernetesClient, cache: Cache, key: PlatformKey) -> AsyncIterator[None]:
    """Reads a platform again if what is done in the context is refused as out of date, and raises that ApiError."""
    async with after_conflict(lambda: _read_again(client, cache, key)):
        yield


@asynccontextmanager
async def after_conflict(read_again: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Calls `read_again` if what is done in the context is refused as out of date, and raises that ApiError."""
    try:
        yield
    except ApiError as error:
        if error.conflict:
            await read_again()
        raise


async def _read_again(client: KubernetesClient, cache: Cache, key: PlatformKey) -> None:
    """Stores in the cache the newest versions of a platform and of its records. Raises ApiError.

    What is not found stays in the cache until a watch or a list says that it is gone.
    """
    platform = await client.get(PLATFORM, key.namespace, key.name)
    if platform is not None:
        cache.store_platform(observe_platform(platform))
    for identity in (inventory_id(key), rotation_id(key), salt_id(key)):
        record = await client.get(CHILD_KINDS["ConfigMap"], key.namespace, identity.name)
        if record is not None and is_ours(record, key):
            cache.store(key, observe(record))
