"""What must be true of the books: each breach is found."""

from datetime import UTC, datetime, timedelta

from chassis.database import invariants
from chassis.database.engine import Database
from chassis.types.ids import UserId, uuid7
from chassis_testing.databases import migrated_database
from sample_service.app import SCHEMA
from sample_service.domain.samples import Sample, SampleId
from sample_service.repository.samples import SampleRepository


async def test_a_close_before_the_opening_is_a_breach() -> None:
    now = datetime.now(UTC)
    sound = Sample.open(SampleId(uuid7()), UserId(1), "First", at=now)
    async with migrated_database("sample_service") as settings:
        database = Database(settings, SCHEMA)
        async with database.begin() as transaction:
            await SampleRepository(transaction).add(sound.close(at=now))
            await SampleRepository(transaction).add(
                Sample.open(SampleId(uuid7()), UserId(1), "Second", at=now).close(at=now - timedelta(days=1))
            )
        [invariant] = invariants.load_invariants("sample_service")

        broken = await invariants.InvariantMonitor(database, "sample_service").violations(invariant)

        await database.close()
        assert (invariant.name, len(broken)) == ("nothing_is_closed_before_it_is_opened", 1)
