"""Prepared statements share transactions with SQLAlchemy, and survive migrations, outages and cancelled requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest
from chassis.database import engine, idle_connections
from chassis.database.connections import PooledConnection
from chassis.database.engine import Database, driver_error
from chassis.database.statements import Command, Statement, insert_rows, sent_rows
from chassis.errors import DatabaseUnavailable
from chassis.observability import tracing
from chassis.settings import DatabaseSettings
from chassis_testing.databases import connect_to, empty_database
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.waiting import eventually
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY
from sqlalchemy import (
    ARRAY,
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    any_,
    bindparam,
    exc,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio.exc import AsyncContextNotStarted

CUPS = Table(
    "cups",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", Text),
    Column("options", JSONB, server_default="{}"),
)
ADD = Statement(
    insert(CUPS).values(id=bindparam("id"), name=bindparam("name"), options=bindparam("options")).returning(CUPS.c.id),
    lambda row: int(row["id"]),
)
FIND = Statement(
    select(CUPS.c.name, CUPS.c.options).where(CUPS.c.id == bindparam("id")), lambda row: (row["name"], row["options"])
)
FIND_ALL = Statement(
    select(CUPS.c.name)
    .where(CUPS.c.id == any_(bindparam("ids", type_=ARRAY(Integer))), CUPS.c.id > 0)
    .order_by(CUPS.c.id)
    .limit(10),
    lambda row: str(row["name"]),
)

ADD_ALL = Command(insert_rows(CUPS.c.id, CUPS.c.name))
NEW_NAMES = sent_rows(CUPS.c.id, CUPS.c.name)
RENAME_ALL = Command(update(CUPS).where(CUPS.c.id == NEW_NAMES.c.id).values(name=NEW_NAMES.c.name))
ADMIN_SHUTDOWN = b"E\0\0\0\x27SFATAL\0C57P01\0Mserver is stopping\0\0"
"""PostgreSQL's last message on a connection of a server that stops; the connection closes a moment later."""


@pytest.fixture
async def settings() -> AsyncIterator[DatabaseSettings]:
    async with empty_database() as created:
        yield created.model_copy(update={"db_pool_size": 1})


@pytest.fixture
async def database(settings: DatabaseSettings) -> AsyncIterator[Database]:
    opened = Database(settings, "none", {"application_name": "cupboard"})
    async with opened.begin() as transaction:
        await transaction.run_sync(CUPS.metadata.create_all)
        await ADD.first(transaction, id=1, name="espresso", options={"size": "S"})
    yield opened
    await opened.close()


async def find(database: Database, cup_id: int = 1) -> object:
    async with database.read() as connection:
        return await FIND.first(connection, id=cup_id)


async def test_values_are_sent_and_returned_in_their_types(database: Database) -> None:
    async with database.begin() as transaction:
        assert await ADD.all(transaction, id=2, name="mocha", options={}) == [2]

    assert await find(database) == ("espresso", {"size": "S"})
    assert await find(database, 3) is None
    async with database.read() as connection:
        assert await FIND_ALL.all(connection, ids=[1, 2, 3]) == ["espresso", "mocha"]


async def test_a_statement_is_part_of_the_transaction_that_it_begins(database: Database) -> None:
    async def add_and_fail() -> None:
        async with database.begin() as transaction:
            await ADD.first(transaction, id=2, name="mocha", options={})
            count = await transaction.scalar(select(func.count()).select_from(CUPS))
            raise RuntimeError(f"SQLAlchemy's statements see {count}")

    with pytest.raises(RuntimeError, match="see 2"):
        await add_and_fail()

    assert await find(database, 2) is None


async def test_one_command_writes_any_number_of_rows(database: Database) -> None:
    async with database.begin() as transaction:
        await ADD_ALL.execute(transaction, id=[2, 3], name=["mocha", None])
        await ADD_ALL.execute(transaction, id=[], name=[])
        await RENAME_ALL.execute(transaction, id=[1, 3], name=["lungo", "cortado"])

    async with database.read() as connection:
        assert await FIND_ALL.all(connection, ids=[1, 2, 3]) == ["lungo", "mocha", "cortado"]


async def test_the_row_of_a_statement_that_must_have_one(database: Database) -> None:
    async with database.read() as connection:
        assert await FIND.one(connection, id=1) == ("espresso", {"size": "S"})
        with pytest.raises(LookupError, match="no row: SELECT cups"):
            await FIND.one(connection, id=2)


async def test_a_violated_constraint_is_the_error_that_sqlalchemy_raises(database: Database) -> None:
    errors: list[exc.IntegrityError] = []
    for execute in (
        lambda transaction: ADD_ALL.execute(transaction, id=[2, 1], name=["mocha", "mocha"]),
        lambda transaction: transaction.execute(insert(CUPS).values(id=1, name="mocha")),
    ):
        with pytest.raises(exc.IntegrityError) as violation:
            async with database.begin() as transaction:
                await execute(transaction)
        errors.append(violation.value)

    assert [type(driver_error(error.orig)) for error in errors] == [asyncpg.UniqueViolationError] * 2
    assert not any("mocha" in str(error) for error in errors)
    assert await find(database, 2) is None


async def test_a_constraint_that_is_checked_at_the_end_is_violated_by_the_commit(database: Database) -> None:
    async with database.begin() as transaction:
        await transaction.execute(text("ALTER TABLE cups ADD UNIQUE (name) DEFERRABLE INITIALLY DEFERRED"))

    with pytest.raises(exc.IntegrityError):
        async with database.begin() as transaction:
            await ADD_ALL.execute(transaction, id=[2, 3], name=["mocha", "mocha"])
    async with database.begin() as transaction:
        await ADD_ALL.execute(transaction, id=[4], name=["mocha"])

    async with database.read() as connection:
        assert await FIND_ALL.all(connection, ids=[1, 2, 3, 4]) == ["espresso", "mocha"]


async def test_the_pool_lends_the_connection_that_was_used_last(settings: DatabaseSettings) -> None:
    database = Database(settings.model_copy(update={"db_pool_size": 2}), "none")
    server_process = Statement(select(func.pg_backend_pid().label("id")), lambda row: int(row["id"]))
    async with database.begin() as outer, database.begin() as inner:
        first, last = await server_process.one(inner), await server_process.one(outer)
    assert first != last

    for _ in range(3):
        async with database.begin() as transaction:
            assert await server_process.one(transaction) == last
    await database.close()


async def test_callers_that_wait_get_the_connection_when_it_is_returned(database: Database) -> None:
    async def read() -> Sequence[str]:
        async with database.read() as connection:
            return await FIND_ALL.all(connection, ids=[])

    async with database.read():
        waiting = [asyncio.create_task(read()) for _ in range(3)]
        await asyncio.sleep(0)
    assert await asyncio.wait_for(asyncio.gather(*waiting), 5) == [[], [], []]


async def test_a_caller_that_waits_gets_the_connection_before_one_that_has_just_returned_it(database: Database) -> None:
    async def read_ten_times() -> None:
        for _ in range(10):
            await find(database)
            turns.append("returned it")

    async def read_once() -> None:
        await find(database)
        turns.append("waited")

    turns: list[str] = []
    await asyncio.gather(read_ten_times(), read_once())
    assert turns[:2] == ["returned it", "waited"]


async def test_the_metric_of_connections_in_use_leaves_idle_ones_out(database: Database) -> None:
    async with database.read() as connection:
        await FIND_ALL.all(connection, ids=[])
        assert REGISTRY.get_sample_value("db_client_connections_usage") == 1
    assert REGISTRY.get_sample_value("db_client_connections_usage") == 0


async def test_a_transaction_cannot_be_used_after_its_end(database: Database) -> None:
    async with database.begin() as transaction:
        await FIND_ALL.all(transaction, ids=[])

    with pytest.raises(AttributeError):
        await ADD_ALL.execute(transaction, id=[2], name=["mocha"])
    with pytest.raises(AsyncContextNotStarted):
        await transaction.execute(text("SELECT 1"))


async def test_a_connection_is_replaced_before_a_load_balancer_forgets_it(
    settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_connections, "_RECYCLE_SECONDS", 0)
    unanswered: list[PooledConnection] = []

    async def close(connection: PooledConnection, **_deadline: float) -> None:
        """Stands for the close of a forgotten connection, which waits for an answer in vain."""
        if not connection.is_closed():
            unanswered.append(connection)
            connection.terminate()

    monkeypatch.setattr(PooledConnection, "close", close)
    database = Database(settings, "none")
    server_process = Statement(select(func.pg_backend_pid().label("id")), lambda row: int(row["id"]))
    processes = set()
    for _ in range(3):
        async with database.read() as connection:
            processes.add(await server_process.one(connection))

    assert len(processes) == 3
    assert unanswered == []
    await database.close()


async def test_a_cancelled_transaction_stores_nothing_and_gives_its_connection_back(database: Database) -> None:
    written = asyncio.Event()

    async def write_and_wait() -> None:
        async with database.begin() as transaction:
            await ADD_ALL.execute(transaction, id=[2], name=["mocha"])
            written.set()
            await transaction.execute(text("SELECT pg_sleep(60)"))

    writing = asyncio.create_task(write_and_wait())
    await written.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    async with database.begin() as transaction:
        await ADD_ALL.execute(transaction, id=[3], name=["lungo"])
    async with database.read() as connection:
        assert await FIND_ALL.all(connection, ids=[2, 3]) == ["lungo"]


async def test_a_read_has_no_transaction_and_sees_each_commit(settings: DatabaseSettings, database: Database) -> None:
    async with database.read() as connection, connect_to(settings) as other:
        assert await FIND.first(connection, id=2) is None
        assert not connection.driver.is_in_transaction()
        await other.execute("INSERT INTO cups (id, name) VALUES (2, 'mocha')")
        assert await FIND.first(connection, id=2) == ("mocha", {})


async def test_each_connection_of_the_pool_has_the_parameters(database: Database) -> None:
    async with database.begin() as transaction:
        assert await transaction.scalar(text("SHOW application_name")) == "cupboard"


async def test_a_statement_is_prepared_again_after_a_migration(database: Database) -> None:
    assert await find(database) == ("espresso", {"size": "S"})
    await alter_name(database, "varchar(40)")
    assert await find(database) == ("espresso", {"size": "S"})

    await alter_name(database, "text")
    with pytest.raises(DatabaseUnavailable, match="being migrated"):
        async with database.begin() as transaction:
            await FIND.first(transaction, id=1)  # PostgreSQL has ended the transaction: it is the caller's to repeat
    async with database.begin() as transaction:
        assert await FIND.first(transaction, id=1) == ("espresso", {"size": "S"})


async def test_after_an_outage_the_first_read_gets_a_new_connection() -> None:
    async with empty_database() as settings, fault_proxy(settings.db_host, settings.db_port) as proxy:
        database = Database(settings.model_copy(update={"db_host": "127.0.0.1", "db_port": proxy.port}), "none")
        async with database.begin() as transaction:
            await transaction.run_sync(CUPS.metadata.create_all)
        assert await find(database) is None

        await proxy.sever()
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                await find(database)
        await proxy.restore()

        assert await find(database) is None
        await database.close()


async def test_a_cancelled_read_gives_its_connection_back(settings: DatabaseSettings, database: Database) -> None:
    sleep = Statement(select(func.pg_sleep(60)), lambda row: row["pg_sleep"])

    async def read_slowly() -> None:
        async with database.read() as connection:
            await sleep.first(connection)

    async def is_sleeping() -> bool:
        running = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'"
        return bool(await other.fetchval(running, settings.db_name))

    reading = asyncio.create_task(read_slowly())
    async with connect_to(settings) as other:
        await eventually(is_sleeping)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading

    assert await find(database) == ("espresso", {"size": "S"})  # by the only connection of the pool


async def _read(database: Database) -> None:
    async with database.read() as connection:
        await FIND.first(connection, id=1)


async def _begin(database: Database) -> None:
    async with database.begin() as transaction:
        await FIND.first(transaction, id=1)


async def _execute(database: Database) -> None:
    async with database.begin() as transaction:
        await transaction.execute(select(CUPS.c.id))


@pytest.mark.parametrize("use", [_read, _begin, _execute])
async def test_a_connection_that_the_server_is_about_to_close_is_an_outage_of_one_use(
    database: Database, use: Callable[[Database], Awaitable[None]]
) -> None:
    await use(database)
    async with database.read() as only:
        only.driver._protocol.data_received(ADMIN_SHUTDOWN)

    with pytest.raises(DatabaseUnavailable):
        await use(database)

    await use(database)


async def test_a_server_that_stops_within_a_transaction_is_an_outage_of_one_use(database: Database) -> None:
    async def write() -> None:
        async with database.begin() as transaction:
            await FIND.first(transaction, id=1)
            driver = (await transaction.get_raw_connection()).driver_connection
            driver._protocol.data_received(ADMIN_SHUTDOWN)  # type: ignore[union-attr]
            await FIND.first(transaction, id=1)

    with pytest.raises(DatabaseUnavailable):
        await write()

    await _begin(database)


@pytest.mark.parametrize("ending", ["cancelled", "timed out"])
async def test_what_is_written_after_an_interrupted_begin_is_committed(
    monkeypatch: pytest.MonkeyPatch, settings: DatabaseSettings, database: Database, ending: str
) -> None:
    if ending == "timed out":
        monkeypatch.setattr(engine, "_STATEMENT_TIMEOUT_SECONDS", 0.5)
    async with connect_to(settings) as other, slow_database(settings) as (slow, proxy):

        async def write_nothing() -> None:
            async with slow.begin() as transaction:
                await FIND.first(transaction, id=1)

        async def has_begun() -> bool:
            begun = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND state = 'idle in transaction'"
            return bool(await other.fetchval(begun, settings.db_name))

        proxy.hold_answers()
        writing = asyncio.create_task(write_nothing())
        await eventually(has_begun)
        if ending == "cancelled":
            writing.cancel()
        with suppress(asyncio.CancelledError, DatabaseUnavailable):
            await writing
        proxy.release_answers()

        async with slow.begin() as transaction:
            await ADD.first(transaction, id=2, name="ristretto", options={})
        assert await find(database, 2) == ("ristretto", {})


@pytest.mark.parametrize("ending", ["cancelled", "timed out"])
async def test_a_connection_closes_if_the_answer_to_commit_is_unknown(
    monkeypatch: pytest.MonkeyPatch, settings: DatabaseSettings, database: Database, ending: str
) -> None:
    if ending == "timed out":
        monkeypatch.setattr(engine, "_STATEMENT_TIMEOUT_SECONDS", 0.5)
    async with slow_database(settings) as (slow, proxy):

        async def write() -> None:
            async with slow.begin() as transaction:
                drivers.append((await transaction.get_raw_connection()).driver_connection)
                await ADD.first(transaction, id=2, name="ristretto", options={})
                proxy.hold_answers()

        async def is_committed() -> bool:
            return await find(database, 2) is not None

        drivers: list[asyncpg.Connection] = []
        writing = asyncio.create_task(write())
        await eventually(is_committed)
        if ending == "cancelled":
            writing.cancel()
        with suppress(asyncio.CancelledError, DatabaseUnavailable):
            await writing
        proxy.release_answers()

        assert drivers[0].is_closed()
        assert await find(slow, 2) == ("ristretto", {})


async def test_what_is_written_after_an_interrupted_commit_that_was_not_sent_is_committed(
    settings: DatabaseSettings, database: Database
) -> None:
    async with slow_database(settings) as (slow, proxy):

        async def write_nothing() -> None:
            async with slow.begin() as transaction:
                await FIND.first(transaction, id=1)
                proxy.hold_answers()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0):
                        await FIND.first(transaction, id=1)
                asyncio.get_running_loop().call_soon(writing.cancel)  # while COMMIT waits for the end of the statement

        writing = asyncio.create_task(write_nothing())
        with suppress(asyncio.CancelledError):
            await writing
        proxy.release_answers()

        async with slow.autocommit() as connection:
            await ADD.first(connection, id=2, name="ristretto", options={})
        assert await find(database, 2) == ("ristretto", {})


@asynccontextmanager
async def slow_database(settings: DatabaseSettings) -> AsyncIterator[tuple[Database, FaultProxy]]:
    """Opens the only connection of a pool, and gives the proxy through which it leads."""
    async with fault_proxy(settings.db_host, settings.db_port) as proxy:
        slow = Database(settings.model_copy(update={"db_host": "127.0.0.1", "db_port": proxy.port}), "none")
        assert await find(slow) is not None
        yield slow, proxy
        await slow.close()


async def test_a_prepared_statement_has_a_span_without_its_values(
    settings: DatabaseSettings, database: Database, spans: InMemorySpanExporter
) -> None:
    with tracing.tracer.start_as_current_span("request") as request:
        async with database.begin() as transaction:
            await ADD.first(transaction, id=2, name="mocha", options={})
        await find(database, 2)

    found = [span for span in spans.get_finished_spans() if "db.query.text" in (span.attributes or {})]
    assert [span.name.split()[0] for span in found] == ["INSERT", "SELECT"]
    assert all(span.parent and span.parent.span_id == request.get_span_context().span_id for span in found)
    assert all(span.attributes and span.attributes["db.namespace"] == settings.db_name for span in found)
    assert not any("mocha" in span.to_json() for span in found)


async def test_missing_and_unknown_parameters_are_errors_of_the_caller(database: Database) -> None:
    async with database.read() as connection:
        with pytest.raises(TypeError, match="'id'"):
            await FIND.first(connection)
        with pytest.raises(TypeError, match="'name'"):
            await FIND.first(connection, id=1, name="mocha")


def test_a_list_in_place_of_an_array_is_refused_when_the_statement_is_compiled() -> None:
    with pytest.raises(TypeError, match="ARRAY"):
        Statement(select(CUPS.c.id).where(CUPS.c.id.in_([1, 2])), lambda row: row["id"])


async def alter_name(database: Database, type_name: str) -> None:
    async with database.begin() as transaction:
        await transaction.execute(text(f"ALTER TABLE cups ALTER COLUMN name TYPE {type_name}"))
