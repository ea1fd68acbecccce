"""A statement is a step of the trace that it belongs to, told without the values in it."""

from collections.abc import AsyncIterator

import pytest
from chassis.database.engine import Database
from chassis.observability import tracing
from chassis_testing.databases import empty_database
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


async def test_each_statement_is_a_step_below_what_it_is_done_for(
    database: Database, spans: InMemorySpanExporter
) -> None:
    with tracing.tracer.start_as_current_span("request") as request:
        async with database.begin() as transaction:
            await transaction.execute(insert(CUPS), [{"id": 1, "name": "espresso"}, {"id": 2, "name": "mocha"}])
            await transaction.execute(select(CUPS).where(CUPS.c.name == "mocha"))

    inserted, selected = statements(spans)
    assert (inserted.name.split()[0], selected.name.split()[0]) == ("INSERT", "SELECT")
    assert all(span.parent and span.parent.span_id == request.get_span_context().span_id for span in statements(spans))
    assert not any(name in span.to_json() for span in statements(spans) for name in ("espresso", "mocha"))


async def test_a_statement_that_fails_says_so_and_not_over_which_value(
    database: Database, spans: InMemorySpanExporter
) -> None:
    with tracing.tracer.start_as_current_span("request"), pytest.raises(DBAPIError, match="mocha"):
        async with database.begin() as transaction:
            await transaction.execute(text("SELECT CAST(:id AS integer)"), {"id": "mocha"})

    (failed,) = statements(spans)
    assert not failed.status.is_ok
    assert "mocha" not in failed.to_json()


async def test_what_a_loop_asks_of_its_own_accord_is_nobodys_trace(
    database: Database, spans: InMemorySpanExporter
) -> None:
    async with database.begin() as transaction:
        assert (await transaction.execute(text("SELECT 1"))).scalar_one() == 1

    assert spans.get_finished_spans() == ()


def statements(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if "db.query.text" in (span.attributes or {})]
