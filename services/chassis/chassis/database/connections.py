"""The driver's connection, which does not outlive a BEGIN whose outcome is unknown.

A caller that is cancelled, or whose time is over, while BEGIN is on its way would give the pool a connection on which
the server has begun a transaction. asyncpg opens the next transaction of such a connection as a savepoint: its COMMIT
commits nothing, and all that is written on the connection is lost when it closes.
"""

import asyncpg
from asyncpg.transaction import Transaction


class PooledConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that closes when a transaction fails to begin; the pool replaces it."""

    __slots__ = ()

    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False, deferrable: bool = False
    ) -> Transaction:
        return _Transaction(self, isolation, readonly, deferrable)


class _Transaction(Transaction):  # type: ignore[misc]  # asyncpg has no types
    __slots__ = ()

    async def start(self) -> None:
        try:
            await super().start()
        except BaseException:
            self._connection.terminate()
            raise
