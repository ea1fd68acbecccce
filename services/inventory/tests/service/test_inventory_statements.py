"""Each use case of an order takes a fixed number of statements, whatever the number of its lines, and one commit."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from chassis.types.ids import uuid7
from chassis_testing.databases import migrated_database
from chassis_testing.sent_statements import SentStatements, sent_statements
from inventory_harness import UseCases, open_use_cases

_LINES = [(product, 2) for product in range(1, 11)]


@pytest.fixture
async def counted() -> AsyncIterator[tuple[UseCases, SentStatements]]:
    """The use cases, and what they send; each of them has run once, so that nothing is prepared or looked up later."""
    async with (
        migrated_database("inventory_service") as database,
        sent_statements(database) as (sent, proxied),
        open_use_cases(proxied) as use_cases,
    ):
        for product, _ in _LINES:
            await use_cases.set_stock(product, 1000)
        await _run_all(use_cases, uuid7())
        sent.clear()
        yield use_cases, sent


async def _run_all(use_cases: UseCases, order: UUID) -> None:
    await use_cases.reserve(order, *_LINES)
    await use_cases.receive_placed(order, *_LINES)
    await use_cases.receive_confirmed(order, *_LINES)
    await use_cases.receive_shipped(order)


async def test_an_order_takes_these_statements_from_its_reservation_to_its_shipment(
    counted: tuple[UseCases, SentStatements],
) -> None:
    use_cases, sent = counted

    await _run_all(use_cases, uuid7())

    received = ["BEGIN", "INSERT"]
    assert sent.verbs == [
        *["BEGIN", "WITH", "UPDATE", "COMMIT"],
        *[*received, "UPDATE", "COMMIT"],
        *[*received, "UPDATE", "SELECT", "UPDATE", "COMMIT"],
        *[*received, "SELECT", "UPDATE", "SELECT", "UPDATE", "INSERT", "UPDATE", "COMMIT"],
    ]


async def test_a_release_and_an_adjustment_take_these_statements(counted: tuple[UseCases, SentStatements]) -> None:
    use_cases, sent = counted
    order = uuid7()
    await use_cases.reserve(order, *_LINES)
    sent.clear()

    await use_cases.release(order)
    await use_cases.adjust(1, 1)

    assert sent.verbs == [
        *["BEGIN", "SELECT", "SELECT", "UPDATE", "UPDATE", "COMMIT"],
        *["BEGIN", "SELECT", "UPDATE", "UPDATE", "INSERT", "SELECT", "COMMIT"],
    ]


async def test_reading_stock_takes_no_transaction(counted: tuple[UseCases, SentStatements]) -> None:
    use_cases, sent = counted

    assert await use_cases.units(1) == (998, 0, 0)

    assert sent.verbs == ["SELECT"]
