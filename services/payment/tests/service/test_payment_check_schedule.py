"""A payment that has ended is checked no more, unless it was rescheduled after it was claimed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from chassis.database.engine import Database
from chassis.types.ids import OrderId, UserId, uuid7
from chassis.types.money import Money
from chassis_testing.databases import migrated_database
from payment_service.app import SCHEMA
from payment_service.domain.payments import Payment, PaymentId
from payment_service.repository.payments import PaymentRepository, PaymentWriter
from payment_service.repository.tables import payments
from sqlalchemy import select, update

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with migrated_database("payment_service") as settings:
        opened = Database(settings, SCHEMA)
        yield opened
        await opened.close()


@pytest.mark.parametrize(
    ("attempts", "due_in_seconds", "is_checked_again"),
    [
        pytest.param(0, 15, False, id="its request has ended it before the sweeper would look"),
        pytest.param(1, 2, False, id="the sweeper that claimed it has ended it"),
        pytest.param(1, -1, False, id="the sweeper that claimed it has ended it late"),
        pytest.param(0, 0, True, id="a webhook has made it due"),
    ],
)
async def test_an_ended_payment_is_checked_again_only_if_it_was_rescheduled(
    database: Database, attempts: int, due_in_seconds: int, is_checked_again: bool
) -> None:
    order_id, buyer_id = OrderId(uuid7()), UserId(7)
    payment = Payment(PaymentId(uuid7()), order_id, buyer_id, Money(1000, "USD"), "simulated", _NOW, _NOW)
    due_at = _NOW + timedelta(seconds=due_in_seconds)
    async with database.autocommit() as connection:
        assert await PaymentWriter(connection).add_first(payment, due_at)

    async with database.begin() as transaction:
        await transaction.execute(update(payments).values(attempts=attempts))
        await PaymentRepository(transaction).store_ended(payment.completed(_NOW))

    async with database.begin() as transaction:
        row = (await transaction.execute(select(payments))).one()
    assert (row.status, row.next_check_at) == ("completed", due_at if is_checked_again else None)
