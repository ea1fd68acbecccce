"""The invariants find the rows that violate them."""

from datetime import UTC, datetime, timedelta

from chassis.database.engine import Database
from chassis.database.invariants import InvariantMonitor, load_invariants
from chassis.types.ids import UserId, uuid7
from chassis_testing.databases import migrated_database
from sample_service.app import SCHEMA
from sample_service.domain.samples import Sample, SampleId
from sample_service.repository.samples import SampleRepository


async def test_a_close_before_the_opening_is_found() -> None:
    now = datetime.now(UTC)
    first, second = (Sample.open(SampleId(uuid7()), UserId(1), name, at=now) for name in ("First", "Second"))
    async with migrated_database("sample_service") as settings:
        database = Database(settings, SCHEMA)
        async with database.begin() as transaction:
            await SampleRepository(transaction).add(first.close(at=now))
            await SampleRepository(transaction).add(second.close(at=now - timedelta(days=1)))
        [invariant] = load_invariants("sample_service")

        violations = await InvariantMonitor(database, "sample_service").violations(invariant)

        await database.close()
        assert invariant.name == "nothing_is_closed_before_it_is_opened"
        assert [row["id"] for row in violations] == [second.id]
