"""What must be true of the books: each breach is found."""

from datetime import UTC, datetime, timedelta

from chassis import invariants, testing
from chassis.database import Database
from chassis.kernel.ids import UserId, uuid7
from sample_service.app import SCHEMA
from sample_service.domain.samples import Sample, SampleId
from sample_service.repository.samples import SampleRepository


async def test_a_close_before_the_opening_is_a_breach() -> None:
    now = datetime.now(UTC)
    sound = Sample.open(SampleId(uuid7()), UserId(1), "First", at=now)
    async with testing.fresh_database("sample_service") as settings:
        database = Database(settings, SCHEMA)
        async with database.begin() as transaction:
            await SampleRepository(transaction).add(sound.close(at=now))
            await SampleRepository(transaction).add(
                Sample.open(SampleId(uuid7()), UserId(1), "Second", at=now).close(at=now - timedelta(days=1))
            )
        [invariant] = invariants.of("sample_service")

        broken = await invariants.Books(database, "sample_service").broken(invariant)

        await database.close()
        assert (invariant.name, len(broken)) == ("nothing_is_closed_before_it_is_opened", 1)
