"""Products in Redis, so that a page costs the database nothing. What costs money never comes from here.

Who finds nothing takes a lease: puts a token of its own where the product would be, reads the database, and then replaces the
token, if it still is there, by what it read. Who changes a product deletes whatever is there, once the change is committed:
a product as it was, or the lease of a reader who may be about to put that back. So who was told that a change is stored never
sees the product as it was before, in whatever order readers and writers arrive, and whatever Redis forgets meanwhile. A process
that dies between the two has written product.changed with the change: whoever receives that deletes for it.

Redis may be away or hang: reads go to the database, and do not ask again for a moment. A deletion that Redis did not confirm
is overdue: this process reads that product from the database, and repeats the deletion until Redis takes it or whatever was
there has lapsed. Only another process that reaches Redis while this one does not can meet the old entry, for its 60 s at most.
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
FAILURES = Counter("product_cache_failures_total", "Commands that Redis did not carry out in time")

LIFETIME_SECONDS = 60
_LEASE_SECONDS = 5
"""Longer than a read takes. While a lease is there, other readers read for themselves."""
_REST_SECONDS = 1.0
"""How long a cache that failed is left alone by readers."""
_FORMAT = 2
"""Part of every key: raise it with the shape of an entry, so that processes of two releases do not read each other's."""
_CONNECTIONS = 20
_REDEEM = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

log = logs.get_logger(__name__)


def connect(url: str) -> Redis:
    return redis_client.connect(url, _CONNECTIONS, decode_responses=True)


_Reply = TypeVar("_Reply")


class ProductCache:
    def __init__(
        self, redis: Redis, prefix: str, deadline: float, new_token: Callable[[], UUID], clock: Callable[[], float]
    ) -> None:
        """`prefix` keeps shops on one Redis apart; a command has `deadline` seconds; `clock` counts seconds and never goes back."""
        self._redis = redis
        self._prefix = f"{prefix}:product:{_FORMAT}:"
        self._deadline = deadline
        self._new_token = new_token
        self._clock = clock
        self._redeem = redis.register_script(_REDEEM)
        self._resting_until = float("-inf")
        self._overdue: dict[ProductId, float] = {}

    async def find(self, product_id: ProductId, read: Callable[[], Awaitable[Product]]) -> Product:
        """The product from Redis, or else from `read`, whose errors pass through and are not kept."""
        if product_id in self._overdue or self._is_resting():
            LOOKUPS.labels("passed_by").inc()
            return await read()
        key = self._key(product_id)
        held = await self._attempt(self._redis.get(key))
        if held is not None and not _is_lease(held):
            LOOKUPS.labels("hit").inc()
            return decode(str(held))
        LOOKUPS.labels("miss").inc()
        lease = None if held is not None or self._is_resting() else await self._lease(key)
        product = await read()
        if lease is not None:
            await self._attempt(self._redeem([key], [lease, encode(product), LIFETIME_SECONDS]))
        return product

    async def forget(self, product_id: ProductId) -> None:
        """To be called when a change is committed: from now on nobody finds here what was before."""
        self._overdue[product_id] = self._clock() + LIFETIME_SECONDS
        await self._delete(product_id)

    async def catch_up(self) -> None:
        """Repeats the deletions that are overdue, until Redis fails again."""
        for product_id, lapsed_at in list(self._overdue.items()):
            if self._clock() >= lapsed_at:
                del self._overdue[product_id]
            elif not await self._delete(product_id):
                return

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _lease(self, key: str) -> str | None:
        """None where another reader was faster, or Redis is away."""
        token = f"lease {self._new_token()}"
        taken = await self._attempt(self._redis.set(key, token, nx=True, ex=_LEASE_SECONDS))
        return token if taken else None

    async def _delete(self, product_id: ProductId) -> bool:
        since = self._overdue.get(product_id)
        if await self._attempt(self._redis.delete(self._key(product_id))) is None:
            return False
        if self._overdue.get(product_id) == since:
            self._overdue.pop(product_id, None)
        return True

    async def _attempt(self, command: Awaitable[_Reply]) -> _Reply | None:
        """None where Redis did not carry the command out in time."""
        try:
            async with asyncio.timeout(self._deadline):
                return await command
        except (RedisError, OSError, TimeoutError) as error:
            FAILURES.inc()
            if not self._is_resting():
                log.warning("the cache does not answer; reading from the database", reason=repr(error))
            self._resting_until = self._clock() + _REST_SECONDS
            return None

    def _key(self, product_id: ProductId) -> str:
        return f"{self._prefix}{product_id}"

    def _is_resting(self) -> bool:
        return self._clock() < self._resting_until


def _is_lease(held: object) -> bool:
    return str(held).startswith("lease ")


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
