"""The database connection: outages become DatabaseUnavailable, and statements are traced without their values."""

from collections.abc import AsyncIterator

import pytest
from chassis.database.engine import Database
from chassis.errors import DatabaseUnavailable
from chassis.observability import tracing
from chassis_testing.databases import empty_database
from chassis_testing.fault_proxy import fault_proxy
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select, text
from sqlalchemy.exc import DBAPIError

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


async def test_a_value_that_cannot_be_stored_is_not_an_outage(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.begin() as transaction:
            await transaction.execute(text("SELECT CAST(:number AS int)"), {"number": 2**31})


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
