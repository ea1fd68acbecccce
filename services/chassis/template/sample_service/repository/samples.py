"""Statements on samples."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from chassis.types.ids import UserId
from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sample_service.domain.samples import Sample, SampleId
from sample_service.repository.tables import samples


class SampleRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def page_of(self, owner_id: UserId, offset: int, limit: int) -> tuple[Sequence[Sample], int]:
        """Newest first, along samples_by_owner; and how many there are in all."""
        theirs = samples.c.owner_id == owner_id
        newest = select(samples).where(theirs).order_by(samples.c.created_at.desc(), samples.c.id.desc())
        rows = (await self._transaction.execute(newest.offset(offset).limit(limit))).all()
        total = await self._transaction.scalar(select(func.count()).select_from(samples).where(theirs))
        return [_sample(row) for row in rows], total or 0

    async def get(self, owner_id: UserId, sample_id: SampleId) -> Sample | None:
        """By primary key."""
        return await self._one(_owned(owner_id, sample_id))

    async def lock(self, owner_id: UserId, sample_id: SampleId) -> Sample | None:
        """By primary key, its row locked."""
        return await self._one(_owned(owner_id, sample_id).with_for_update())

    async def add(self, sample: Sample) -> None:
        await self._transaction.execute(insert(samples).values(asdict(sample)))

    async def store(self, sample: Sample) -> None:
        """The row must be locked."""
        await self._transaction.execute(update(samples).where(samples.c.id == sample.id).values(asdict(sample)))

    async def _one(self, wanted: Select[Any]) -> Sample | None:
        row = (await self._transaction.execute(wanted)).first()
        return None if row is None else _sample(row)


def _owned(owner_id: UserId, sample_id: SampleId) -> Select[Any]:
    return select(samples).where(samples.c.id == sample_id, samples.c.owner_id == owner_id)


def _sample(row: Row[Any]) -> Sample:
    return Sample(
        id=SampleId(row.id),
        owner_id=UserId(row.owner_id),
        name=row.name,
        created_at=row.created_at,
        closed_at=row.closed_at,
    )
