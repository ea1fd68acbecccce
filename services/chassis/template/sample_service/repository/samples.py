"""The statements on samples."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from chassis.types.ids import UserId
from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sample_service.domain.samples import Sample, SampleId
from sample_service.repository.tables import samples


class SampleRepository:
    """The samples in the database, within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def list_page(self, owner_id: UserId, offset: int, limit: int) -> tuple[Sequence[Sample], int]:
        """Returns some samples of an owner, newest first by samples_by_owner, and their total number."""
        is_owned = samples.c.owner_id == owner_id
        newest = select(samples).where(is_owned).order_by(samples.c.created_at.desc(), samples.c.id.desc())
        rows = (await self._transaction.execute(newest.offset(offset).limit(limit))).all()
        total = await self._transaction.scalar(select(func.count()).select_from(samples).where(is_owned))
        return [_sample(row) for row in rows], total or 0

    async def get(self, owner_id: UserId, sample_id: SampleId) -> Sample | None:
        """Reads a sample by its primary key."""
        return await self._first(_select_owned(owner_id, sample_id))

    async def lock(self, owner_id: UserId, sample_id: SampleId) -> Sample | None:
        """Reads a sample by its primary key, and locks its row."""
        return await self._first(_select_owned(owner_id, sample_id).with_for_update())

    async def add(self, sample: Sample) -> None:
        await self._transaction.execute(insert(samples).values(asdict(sample)))

    async def update(self, sample: Sample) -> None:
        """Writes a sample. Its row must be locked."""
        await self._transaction.execute(update(samples).where(samples.c.id == sample.id).values(asdict(sample)))

    async def _first(self, query: Select[Any]) -> Sample | None:
        row = (await self._transaction.execute(query)).first()
        return None if row is None else _sample(row)


def _select_owned(owner_id: UserId, sample_id: SampleId) -> Select[Any]:
    return select(samples).where(samples.c.id == sample_id, samples.c.owner_id == owner_id)


def _sample(row: Row[Any]) -> Sample:
    return Sample(
        id=SampleId(row.id),
        owner_id=UserId(row.owner_id),
        name=row.name,
        created_at=row.created_at,
        closed_at=row.closed_at,
    )
