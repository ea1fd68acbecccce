"""What follows when the order service does not know the order of a payment."""

from datetime import UTC, datetime, timedelta

import pytest
from payment_service.domain.orphans import OrphanStep, next_step

NOW = datetime(2026, 1, 10, tzinfo=UTC)
WEEK = timedelta(days=7)
JUST_NOW, A_WEEK_AGO = NOW - timedelta(minutes=15), NOW - WEEK


@pytest.mark.parametrize(
    ("found_at", "refund_after", "is_order_known", "is_refundable", "step"),
    [
        (None, WEEK, True, True, OrphanStep.NONE),
        (None, WEEK, False, False, OrphanStep.NONE),
        (None, WEEK, False, True, OrphanStep.FOUND),
        (JUST_NOW, WEEK, False, True, OrphanStep.HELD),
        (A_WEEK_AGO + timedelta(seconds=1), WEEK, False, True, OrphanStep.HELD),
        (A_WEEK_AGO, WEEK, False, True, OrphanStep.REFUNDED),
        (A_WEEK_AGO, WEEK, True, True, OrphanStep.RECOVERED),
        (A_WEEK_AGO, WEEK, False, False, OrphanStep.RECOVERED),
        (A_WEEK_AGO, None, False, True, OrphanStep.HELD),
    ],
)
def test_a_payment_without_an_order_is_held_and_then_refunded(
    found_at: datetime | None,
    refund_after: timedelta | None,
    is_order_known: bool,
    is_refundable: bool,
    step: OrphanStep,
) -> None:
    assert next_step(found_at, NOW, refund_after, is_order_known=is_order_known, is_refundable=is_refundable) is step
