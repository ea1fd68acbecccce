"""The database connection: outages become DatabaseUnavailable, and statements are traced without their values."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from chassis.database.engine import Database
from chassis.database.transactions import call_after_commit
from chassis.errors import DatabaseUnavailable
from chassis.http.app import Readiness, create_app
from chassis.observability import tracing
from chassis_testing.databases import SqlConnection, connect_to, empty_database
from chassis_testing.fault_proxy import fault_proxy
from chassis_testing.services import http_client
from chassis_testing.waiting import eventually
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import Column, Integer, MetaData, Table, Text, event, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

CUPS = Table("cups", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with empty_database() as settings:
        opened = Database(settings, "none")
        async with opened.begin() as transaction:
            await transaction.run_sync(CUPS.metadata.create_all)
        yield opened
        await opened.close()


async def test_an_outage_raises_database_unavailable_and_ends_without_a_restart() -> None:
    async with empty_database() as settings, fault_proxy(settings.db_host, settings.db_port) as proxy:
        database = Database(settings.model_copy(update={"db_host": "127.0.0.1", "db_port": proxy.port}), "none")
        async with database.begin() as transaction:
            assert await transaction.scalar(text("SELECT 1")) == 1

        await proxy.sever()
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                async with database.begin() as transaction:
                    await transaction.execute(text("SELECT 1"))
        await proxy.restore()

        async with database.begin() as transaction:
            assert await transaction.scalar(text("SELECT 1")) == 1
        await database.close()


async def test_a_function_is_called_after_the_commit_of_its_transaction(database: Database) -> None:
    found: list[int] = []
    async with database.begin() as transaction:
        await transaction.execute(insert(CUPS).values(id=1))
        call_after_commit(transaction, lambda: found.append(1))
        assert found == []

    assert found == [1]


async def test_a_function_is_not_called_if_its_transaction_is_rolled_back_or_its_commit_fails(
    database: Database,
) -> None:
    called: list[str] = []
    async with database.begin() as transaction:
        await transaction.execute(text("CREATE TABLE saucers (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))

    with pytest.raises(RuntimeError):  # noqa: PT012 - the block is the transaction
        async with database.begin() as transaction:
            call_after_commit(transaction, lambda: called.append("rolled back"))
            await transaction.execute(text("INSERT INTO saucers VALUES (1)"))
            raise RuntimeError
    with pytest.raises(IntegrityError):  # noqa: PT012 - the block is the transaction
        async with database.begin() as transaction:
            call_after_commit(transaction, lambda: called.append("refused"))
            await transaction.execute(text("INSERT INTO saucers VALUES (2), (2)"))

    assert called == []


def test_a_transaction_that_cannot_say_when_it_is_committed_is_refused() -> None:
    other = AsyncConnection(create_async_engine("postgresql+asyncpg://database.invalid"))

    with pytest.raises(TypeError, match=r"Database\.begin"):
        call_after_commit(other, pytest.fail)


async def test_a_value_that_cannot_be_stored_is_not_an_outage(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.begin() as transaction:
            await transaction.execute(text("SELECT CAST(:number AS int)"), {"number": 2**31})


async def test_a_busy_pool_is_ready_and_a_database_that_is_away_is_not() -> None:
    async with empty_database() as settings, fault_proxy(settings.db_host, settings.db_port) as proxy:
        proxied = settings.model_copy(update={"db_host": "127.0.0.1", "db_port": proxy.port, "db_pool_size": 2})
        busy, idle = Database(proxied, "0001"), Database(proxied, "0001")
        await create_revision(busy, "0001")
        ready = Readiness(busy.is_ready)
        async with http_client(create_app("Test", "1", [], {}, ready)) as client, busy.begin(), busy.begin():
            forget_answers(busy)
            assert (await client.get("/ready")).status_code == 200

            await proxy.sever()

            async def is_unready() -> bool:
                return (await client.get("/ready")).status_code == 503

            await eventually(is_unready)
            assert not await idle.is_ready()
            await proxy.restore()
            assert (await client.get("/ready")).status_code == 200
        await busy.close()
        await idle.close()


async def test_while_transactions_end_readiness_asks_nothing(database: Database) -> None:
    await create_revision(database, "none")
    assert await database.is_ready()
    statements: list[str] = []
    event.listen(database._probes.sync_engine, "before_cursor_execute", lambda *call: statements.append(call[2]))

    async with database.begin():
        pass
    assert all(await asyncio.gather(*(database.is_ready() for _ in range(20))))
    assert statements == []

    forget_answers(database)
    assert all(await asyncio.gather(*(database.is_ready() for _ in range(20))))
    assert statements == ["SELECT version_num FROM alembic_version"]


async def test_a_server_without_a_free_connection_is_ready_once_its_schema_was_seen() -> None:
    async with empty_database() as settings, connect_to(settings) as sql, role_of_one_connection(sql) as role:
        await sql.execute("CREATE TABLE alembic_version AS SELECT '0001' AS version_num")
        await sql.execute(f"GRANT SELECT ON alembic_version TO {role}")
        limited = settings.model_copy(update={"db_user": role, "db_password": "secret"})
        database, unseen = Database(limited, "0001"), Database(limited, "0001")
        assert await database.is_ready()
        await eventually(lambda: has_no_connection(sql, role))
        async with database.begin():
            forget_answers(database)
            assert await database.is_ready()
            assert not await unseen.is_ready()
        await database.close()
        await unseen.close()


@asynccontextmanager
async def role_of_one_connection(sql: SqlConnection) -> AsyncIterator[str]:
    role = f"test_{uuid4().hex}"
    await sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' CONNECTION LIMIT 1")
    try:
        yield role
    finally:
        await sql.execute(f"DROP OWNED BY {role}")
        await sql.execute(f"DROP ROLE {role}")


async def has_no_connection(sql: SqlConnection, role: str) -> bool:
    return not await sql.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = $1", role)


async def create_revision(database: Database, revision: str) -> None:
    async with database.begin() as transaction:
        statement = "CREATE TABLE alembic_version AS SELECT CAST(:revision AS text) AS version_num"
        await transaction.execute(text(statement), {"revision": revision})


def forget_answers(database: Database) -> None:
    """Makes the last transaction so long ago that it proves nothing."""
    database._answered_at = -math.inf


async def test_a_refused_login_is_an_outage_that_does_not_reveal_its_reason() -> None:
    async with empty_database() as settings:
        database = Database(settings.model_copy(update={"db_password": "wrong", "db_name": "none"}), "none")
        with pytest.raises(DatabaseUnavailable, match=r"^the database is not answering$"):
            async with database.begin():
                pass
        assert not await database.is_ready()
        await database.close()


async def test_an_exhausted_pool_raises_database_unavailable() -> None:
    async with empty_database() as settings:
        database = Database(settings.model_copy(update={"db_pool_size": 1, "db_connect_timeout_seconds": 0.5}), "none")
        async with database.begin():
            with pytest.raises(DatabaseUnavailable, match="every connection"):
                async with database.begin():
                    pass
        await database.close()


async def test_each_statement_has_a_span_below_its_request(database: Database, spans: InMemorySpanExporter) -> None:
    with tracing.tracer.start_as_current_span("request") as request:
        async with database.begin() as transaction:
            await transaction.execute(insert(CUPS), [{"id": 1, "name": "espresso"}, {"id": 2, "name": "mocha"}])
            await transaction.execute(select(CUPS).where(CUPS.c.name == "mocha"))

    inserted, selected = statements(spans)
    assert (inserted.name.split()[0], selected.name.split()[0]) == ("INSERT", "SELECT")
    assert all(span.parent and span.parent.span_id == request.get_span_context().span_id for span in statements(spans))
    assert not any(name in span.to_json() for span in statements(spans) for name in ("espresso", "mocha"))


async def test_the_span_of_a_failed_statement_has_the_failure_but_no_value(
    database: Database, spans: InMemorySpanExporter
) -> None:
    with tracing.tracer.start_as_current_span("request"), pytest.raises(DBAPIError, match="mocha"):
        async with database.begin() as transaction:
            await transaction.execute(text("SELECT CAST(:id AS integer)"), {"id": "mocha"})

    (failed,) = statements(spans)
    assert not failed.status.is_ok
    assert "mocha" not in failed.to_json()


async def test_statements_of_background_loops_have_no_span(database: Database, spans: InMemorySpanExporter) -> None:
    async with database.begin() as transaction:
        assert (await transaction.execute(text("SELECT 1"))).scalar_one() == 1

    assert spans.get_finished_spans() == ()


def statements(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if "db.query.text" in (span.attributes or {})]
