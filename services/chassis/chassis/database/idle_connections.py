"""Connections that are lent again without SQLAlchemy's pool, which takes a greenlet for each use (docs/adr/0083).

The pool opens connections, limits their number and lets callers wait.
"""

import asyncio
import time

from sqlalchemy import PoolProxiedConnection, event, exc
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, ManagesConnection

_RECYCLE_SECONDS = 200
"""The age at which a connection is replaced before its next use. Those that only a peak needs are idle for long: load
balancers forget idle connections after 240 s and more, without a word to either end.
"""


class IdleConnections:
    """Lends the connections of an engine's pool. The one returned last is lent first.

    So few connections have prepared what all have to do, instead of each of them a part of it.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._idle: list[PoolProxiedConnection] = []
        self._waiting = 0
        event.listen(engine.sync_engine, "checkout", _replace_unusable)

    @property
    def in_use(self) -> int:
        """How many connections are lent."""
        return self.engine.pool.checkedout() - len(self._idle)  # type: ignore[attr-defined, no-any-return]  # the queue pool has it

    async def take(self) -> PoolProxiedConnection:
        """Lends a connection, which returns by `put_back` or, if it may be unusable, by its own `close`.

        Raises what `AsyncEngine.raw_connection` does.
        """
        if self._waiting:
            await asyncio.sleep(0)  # the pool wakes the caller that waits longest, but lends to the first that asks
        while self._idle:
            connection = self._idle.pop()
            if _is_usable(connection):
                return connection
            connection.close()
        self._waiting += 1
        try:
            return await self.engine.raw_connection()
        finally:
            self._waiting -= 1

    def put_back(self, connection: PoolProxiedConnection) -> None:
        """Takes back a connection that has no transaction."""
        if self._waiting:
            connection.close()  # those that wait get it from the pool
        else:
            self._idle.append(connection)

    async def close(self) -> None:
        """Closes the idle connections, and the engine."""
        while self._idle:
            self._idle.pop().close()
        await self.engine.dispose()


def _replace_unusable(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
    """Makes the pool replace a connection that has been closed since its last use, or is too old.

    This asks the server nothing. SQLAlchemy's `pool_recycle` would wait two seconds for the answer of a connection that
    a load balancer has forgotten.
    """
    if "opened_at" not in record.info:  # it is the first use; the pool clears what it knows of a connection with it
        record.info["opened_at"] = time.monotonic()
    elif not _is_usable(record):
        connection.driver_connection.terminate()
        raise exc.DisconnectionError("the connection is too old, or was closed while it was not in use")


def _is_usable(connection: ManagesConnection) -> bool:
    driver, age = connection.driver_connection, time.monotonic() - connection.info["opened_at"]
    return driver is not None and not driver.is_closed() and age <= _RECYCLE_SECONDS
