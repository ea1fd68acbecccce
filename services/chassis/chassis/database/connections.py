"""The driver's connection, which does not outlive a BEGIN, COMMIT or ROLLBACK whose outcome is unknown.

A caller that is cancelled, or whose time is over, while BEGIN is on its way would give the pool a connection on which
the server has begun a transaction. asyncpg opens the next transaction of such a connection as a savepoint: its COMMIT
commits nothing, and all that is written on the connection is lost when it closes. A COMMIT or ROLLBACK that is
interrupted may not even be sent: it waits until the server has cancelled the statement before it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from asyncpg.transaction import Transaction


class PooledConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that closes when a transaction fails to begin, or ends unknown; the pool replaces it."""

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

    async def commit(self) -> None:
        with self._closing_if_unknown():
            await super().commit()

    async def rollback(self) -> None:
        with self._closing_if_unknown():
            await super().rollback()

    @contextmanager
    def _closing_if_unknown(self) -> Iterator[None]:
        """Closes the connection unless the server answers. Its error is an answer too: the transaction has ended."""
        try:
            yield
        except asyncpg.PostgresError:
            raise
        except BaseException:
            self._connection.terminate()
            raise
