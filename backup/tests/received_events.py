"""Events in the inbox of a service's database, which a restore brings back or removes."""

from uuid import UUID

from chassis.settings import DatabaseSettings
from platform_backup.snapshots import connect


async def receive(database: DatabaseSettings, event: UUID) -> None:
    """Stores that an event was received."""
    async with connect("test", database) as sql:
        await sql.execute("INSERT INTO inbox (event_id) VALUES ($1)", event)


async def received(database: DatabaseSettings) -> set[UUID]:
    async with connect("test", database) as sql:
        return {row["event_id"] for row in await sql.fetch("SELECT event_id FROM inbox")}
