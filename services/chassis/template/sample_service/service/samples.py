"""The use cases of samples, one transaction each."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from chassis.database.engine import Database
from chassis.http.schemas import Paging
from chassis.types.ids import UserId

from sample_service.domain.errors import UnknownSample
from sample_service.domain.samples import Sample, SampleId
from sample_service.repository.samples import SampleRepository


class Samples:
    def __init__(self, database: Database, now: Callable[[], datetime], new_id: Callable[[], UUID]) -> None:
        self._database = database
        self._now = now
        self._new_id = new_id

    async def page(self, owner_id: UserId, paging: Paging) -> tuple[Sequence[Sample], int]:
        """Some of an owner's, newest first, and how many there are in all."""
        async with self._database.begin() as transaction:
            return await SampleRepository(transaction).page_of(owner_id, paging.offset, paging.limit)

    async def get(self, owner_id: UserId, sample_id: SampleId) -> Sample:
        """Raises UnknownSample, also where it is somebody else's."""
        async with self._database.begin() as transaction:
            return _found(await SampleRepository(transaction).get(owner_id, sample_id), sample_id)

    async def open(self, owner_id: UserId, name: str) -> Sample:
        sample = Sample.open(SampleId(self._new_id()), owner_id, name, at=self._now())
        async with self._database.begin() as transaction:
            await SampleRepository(transaction).add(sample)
        return sample

    async def close(self, owner_id: UserId, sample_id: SampleId) -> Sample:
        """Raises UnknownSample, AlreadyClosed."""
        async with self._database.begin() as transaction:
            samples = SampleRepository(transaction)
            closed = _found(await samples.lock(owner_id, sample_id), sample_id).close(at=self._now())
            await samples.store(closed)
        return closed


def _found(sample: Sample | None, sample_id: SampleId) -> Sample:
    if sample is None:
        raise UnknownSample(sample_id)
    return sample
