"""What nobody needs any more is forgotten in the background."""

import asyncio

from chassis_testing.waiting import eventually
from shopapi.events.v1.events_pb2 import UserRegistered
from user_harness import Users, fresh_users, quick_hashes


async def count(users: Users, table: str) -> int:
    async with users.sql() as sql:
        return int(await sql.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608


async def test_sessions_requests_and_failures_that_are_over_are_swept_away() -> None:
    with quick_hashes():
        serving = fresh_users()
        async with serving as users:
            ada = await users.register()
            await users.log_in(ada.email, "a guess, a guess")
            sweepers = [name for name in users.service.background if name.startswith("sweep")]
            assert len(sweepers) == 3

            async def sweep() -> None:
                loops = [asyncio.ensure_future(users.service.background[name]()) for name in sweepers]
                await asyncio.sleep(0.2)
                for loop in loops:
                    loop.cancel()

            await sweep()
            tables = ("sessions", "mail_requests", "login_failures")
            assert [await count(users, table) for table in tables] == [1, 1, 1]
            assert await users.mailed_token(ada.id, UserRegistered)
            users.clock.ahead += 31 * 24 * 60 * users.clock.minute

            async def is_swept() -> bool:
                await sweep()
                return [await count(users, table) for table in tables] == [0, 0, 0]

            await eventually(is_swept)
