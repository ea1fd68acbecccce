"""The product cache in Redis, which saves database reads for product pages. Prices to charge never come from it.

A reader that finds nothing takes a lease: it stores a token of its own in place of the product, reads the database, and
then replaces the token, if it is still there, by the product. A writer deletes the entry after its commit, be it the
old product or the lease of a reader that may be about to store the old product. So a client whose change was confirmed
never reads the product as it was before, in whatever order readers and writers arrive, and even if Redis loses entries.
If a process dies between commit and deletion, the product.changed event that it recorded with the change makes its
recipient delete the entry.

Redis may be down or hang: then readers use the database, and do not try Redis again during a cooldown. A deletion that
Redis did not confirm is pending: until it is confirmed, or any old entry has expired, this process reads that product
from the database, and retries the deletion. Only another process that reaches Redis while this one does not can read
the old entry, and only until that expires: 60 s after it was stored, by a reader whose lease may be 5 s old.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from chassis.database import redis_client
from chassis.observability import logs
from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from product_service.domain.categories import CategoryId
from product_service.domain.products import Product

LOOKUPS = Counter(
    "product_cache_lookups_total", "Products looked for in the cache: hit, miss, or passed_by", ["result"]
)
FAILURES = Counter("product_cache_failures_total", "Commands that Redis did not complete in time")

LIFETIME_SECONDS = 60
LEASE_SECONDS = 5
"""Longer than a read takes. While a lease exists, other readers do not store what they read."""
_COOLDOWN_SECONDS = 1.0
"""How long readers do not use Redis after it failed."""
_FORMAT = 2
"""Part of every key. Raise it when the format of entries changes, so that no release reads entries of another."""
_CONNECTIONS = 20
_REPLACE_LEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

log = logs.get_logger(__name__)


def connect(url: str, authorities: str = "") -> Redis:
    return redis_client.connect(url, _CONNECTIONS, authorities, decode_responses=True)


_Reply = TypeVar("_Reply")


class ProductCache:
    def __init__(
        self, redis: Redis, prefix: str, deadline: float, new_token: Callable[[], UUID], clock: Callable[[], float]
    ) -> None:
        """`prefix` separates shops that share a Redis.

        `deadline` limits each command, in seconds; `clock` is monotonic and counts seconds.
        """
        self._redis = redis
        self._prefix = f"{prefix}:product:{_FORMAT}:"
        self._deadline = deadline
        self._new_token = new_token
        self._clock = clock
        self._replace_lease = redis.register_script(_REPLACE_LEASE)
        self._cooldown_until = float("-inf")
        self._pending: dict[ProductId, float] = {}

    async def find(self, product_id: ProductId, read: Callable[[], Awaitable[Product]]) -> Product:
        """Returns the product from Redis, or else from `read`. Errors of `read` are raised and not cached."""
        if product_id in self._pending or self._is_cooling_down():
            LOOKUPS.labels("passed_by").inc()
            return await read()
        key = self._key(product_id)
        entry = await self._attempt(self._redis.get(key))
        if entry is not None and not _is_lease(entry):
            LOOKUPS.labels("hit").inc()
            return decode(str(entry))
        LOOKUPS.labels("miss").inc()
        lease = None if entry is not None or self._is_cooling_down() else await self._take_lease(key)
        product = await read()
        if lease is not None:
            await self._attempt(self._replace_lease([key], [lease, encode(product), LIFETIME_SECONDS]))
        return product

    async def evict(self, product_id: ProductId) -> bool:
        """Deletes the entry of a changed product. Must be called after the commit. The old entry is not used again.

        Returns whether Redis confirmed that. Otherwise other processes may still use it while the deletion is pending.
        """
        self._pending[product_id] = self._clock() + LIFETIME_SECONDS + LEASE_SECONDS
        return await self._delete(product_id)

    def is_eviction_pending(self, product_id: ProductId) -> bool:
        """Returns whether Redis may still have an old entry of this product that this process could not delete."""
        return product_id in self._pending

    async def retry_evictions(self) -> None:
        """Retries the pending deletions, until Redis fails again."""
        for product_id, expires_at in list(self._pending.items()):
            if self._clock() >= expires_at:
                del self._pending[product_id]
            elif not await self._delete(product_id):
                return

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _take_lease(self, key: str) -> str | None:
        """Returns the token of a new lease, None if another reader was faster or Redis is unavailable."""
        token = f"lease {self._new_token()}"
        taken = await self._attempt(self._redis.set(key, token, nx=True, ex=LEASE_SECONDS))
        return token if taken else None

    async def _delete(self, product_id: ProductId) -> bool:
        """Returns whether Redis confirmed the deletion."""
        before = self._pending.get(product_id)
        if await self._attempt(self._redis.delete(self._key(product_id))) is None:
            return False
        if self._pending.get(product_id) == before:
            self._pending.pop(product_id, None)
        return True

    async def _attempt(self, command: Awaitable[_Reply]) -> _Reply | None:
        """Returns the reply, None if Redis did not complete the command in time."""
        try:
            async with asyncio.timeout(self._deadline):
                return await command
        except (RedisError, OSError, TimeoutError) as error:
            FAILURES.inc()
            if not self._is_cooling_down():
                log.warning("product cache unavailable, reading from the database", reason=repr(error))
            self._cooldown_until = self._clock() + _COOLDOWN_SECONDS
            return None

    def _key(self, product_id: ProductId) -> str:
        return f"{self._prefix}{product_id}"

    def _is_cooling_down(self) -> bool:
        return self._clock() < self._cooldown_until


def _is_lease(entry: object) -> bool:
    return str(entry).startswith("lease ")


def encode(product: Product) -> str:
    fields = asdict(product)
    times = {name: fields[name].isoformat() for name in ("created_at", "updated_at")}
    return json.dumps({**fields, **times}, separators=(",", ":"))


def decode(entry: str) -> Product:
    fields: dict[str, Any] = json.loads(entry)
    return Product(
        id=ProductId(fields["id"]),
        seller_id=UserId(fields["seller_id"]),
        category_id=CategoryId(fields["category_id"]),
        name=fields["name"],
        description=fields["description"],
        price=Money(**fields["price"]),
        images=tuple(fields["images"]),
        created_at=datetime.fromisoformat(fields["created_at"]),
        updated_at=datetime.fromisoformat(fields["updated_at"]),
        group_id=None if fields["group_id"] is None else ProductId(fields["group_id"]),
        options=fields["options"],
    )
