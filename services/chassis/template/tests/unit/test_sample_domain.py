"""The life of samples."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.types.ids import UserId
from sample_service.domain.errors import AlreadyClosed
from sample_service.domain.samples import Sample, SampleId

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OPEN = Sample.open(SampleId(UUID(int=1)), UserId(10), "First", at=NOW)


def test_closing_sets_the_time_and_changes_nothing_else() -> None:
    closed = OPEN.close(at=NOW + timedelta(days=1))

    assert closed.closed_at == NOW + timedelta(days=1)
    assert (closed.id, closed.owner_id, closed.name, closed.created_at) == (OPEN.id, 10, "First", NOW)


def test_a_closed_sample_cannot_be_closed_again() -> None:
    with pytest.raises(AlreadyClosed, match="First"):
        OPEN.close(at=NOW).close(at=NOW)
