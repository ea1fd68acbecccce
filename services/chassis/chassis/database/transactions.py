"""Transactions on SQLAlchemy's connections, without what `AsyncEngine.begin` adds to them.

SQLAlchemy changes to another greenlet for each step, and closes a connection in a task of its own, in case that the
step has to wait for the server. Of a transaction that succeeds, only its statements and its COMMIT do.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import PoolProxiedConnection
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.database import statements
from chassis.database.idle_connections import IdleConnections


class Transaction(AsyncConnection):
    """A connection with a transaction, and the functions that its commit calls."""

    __slots__ = ("after_commit",)

    def __init__(self, engine: AsyncEngine, connection: Connection) -> None:
        super().__init__(engine, connection)
        self.after_commit: list[Callable[[], None]] = []


def call_after_commit(transaction: AsyncConnection, function: Callable[[], None]) -> None:
    """Calls a function once the transaction is committed, and never if it is rolled back or its outcome is unknown.

    A savepoint that is rolled back does not prevent the call. Raises TypeError if `Database` has not opened the
    transaction.
    """
    if not isinstance(transaction, Transaction):
        raise TypeError(f"{transaction!r} does not know when it is committed: open it with Database.begin")
    transaction.after_commit.append(function)


@asynccontextmanager
async def transaction_on(lent: PoolProxiedConnection, lender: IdleConnections) -> AsyncIterator[AsyncConnection]:
    """Opens a transaction on a connection, and returns the connection to its lender.

    The end of the block commits, and an exception rolls back. BEGIN is sent with the first statement.
    """
    connection = Connection(lender.engine.sync_engine, lent)
    transaction = Transaction(lender.engine, connection)
    try:
        begun = connection.begin()
        yield transaction
        if not begun.is_active:  # the block has ended it
            connection.close()
            return
        await statements.commit(transaction)
        begun.commit()
    except BaseException:
        await _roll_back(transaction)
        raise
    transaction.sync_connection = None  # a use after the end is an error
    lender.put_back(lent)
    for function in transaction.after_commit:
        function()


async def _roll_back(transaction: AsyncConnection) -> None:
    """Rolls back and returns the connection to the pool, also on cancellation.

    ROLLBACK waits for the server. After a COMMIT that failed nothing is sent: there is nothing to roll back.
    """
    try:
        await transaction.rollback()
    finally:
        await asyncio.shield(asyncio.create_task(transaction.close()))
