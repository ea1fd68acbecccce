"""Samples, which their owner opens, and closes once."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NewType
from uuid import UUID

from chassis.types.ids import UserId

from sample_service.domain.errors import AlreadyClosed

SampleId = NewType("SampleId", UUID)


@dataclass(frozen=True, slots=True)
class Sample:
    id: SampleId
    owner_id: UserId
    name: str
    created_at: datetime
    closed_at: datetime | None
    """When it was closed, or None while it is open."""

    @classmethod
    def open(cls, sample_id: SampleId, owner_id: UserId, name: str, *, at: datetime) -> "Sample":
        """Returns a new open sample."""
        return cls(sample_id, owner_id, name, created_at=at, closed_at=None)

    def close(self, *, at: datetime) -> "Sample":
        """Returns the sample, closed. Raises AlreadyClosed."""
        if self.closed_at is not None:
            raise AlreadyClosed(self.name)
        return replace(self, closed_at=at)
