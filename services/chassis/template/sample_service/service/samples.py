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


class SampleService:
    """Opens, lists and closes the samples of an owner."""

    def __init__(self, database: Database, now: Callable[[], datetime], new_id: Callable[[], UUID]) -> None:
        self._database = database
        self._now = now
        self._new_id = new_id

    async def list_page(self, owner_id: UserId, paging: Paging) -> tuple[Sequence[Sample], int]:
        """Returns one page of an owner's samples, newest first, and the number of all of them."""
        async with self._database.begin() as transaction:
            return await SampleRepository(transaction).list_page(owner_id, paging.offset, paging.limit)

    async def get(self, owner_id: UserId, sample_id: SampleId) -> Sample:
        """Returns a sample. Raises UnknownSample, also if it has another owner."""
        async with self._database.begin() as transaction:
            return _known(await SampleRepository(transaction).get(owner_id, sample_id), sample_id)

    async def open(self, owner_id: UserId, name: str) -> Sample:
        """Stores a new sample and returns it."""
        sample = Sample.open(SampleId(self._new_id()), owner_id, name, at=self._now())
        async with self._database.begin() as transaction:
            await SampleRepository(transaction).add(sample)
        return sample

    async def close(self, owner_id: UserId, sample_id: SampleId) -> Sample:
        """Closes a sample and returns it. Raises UnknownSample, AlreadyClosed."""
        async with self._database.begin() as transaction:
            repository = SampleRepository(transaction)
            closed = _known(await repository.lock(owner_id, sample_id), sample_id).close(at=self._now())
            await repository.update(closed)
        return closed


def _known(sample: Sample | None, sample_id: SampleId) -> Sample:
    if sample is None:
        raise UnknownSample(sample_id)
    return sample
