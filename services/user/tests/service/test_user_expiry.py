"""Expired rows are deleted in the background."""

import asyncio

from chassis_testing.waiting import eventually
from shopapi.events.v1.events_pb2 import UserRegistered
from user_harness import Users, fast_hashes, new_user_service


async def count(users: Users, table: str) -> int:
    async with users.sql() as sql:
        return int(await sql.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608


async def test_expired_sessions_mail_requests_failures_and_devices_are_deleted() -> None:
    with fast_hashes():
        serving = new_user_service()
        async with serving as users:
            ada = await users.register()
            await users.log_in(ada.email, "a guess, a guess")
            loop_names = [name for name in users.service.background if name.startswith("sweep")]
            assert len(loop_names) == 4

            async def run_sweeps() -> None:
                loops = [asyncio.ensure_future(users.service.background[name]()) for name in loop_names]
                await asyncio.sleep(0.2)
                for loop in loops:
                    loop.cancel()

            await run_sweeps()
            tables = ("sessions", "mail_requests", "login_failures", "devices")
            assert [await count(users, table) for table in tables] == [1, 1, 2, 1]
            assert await users.mailed_token(ada.id, UserRegistered)
            users.clock.ahead += 91 * 24 * 60 * users.clock.minute

            async def are_deleted() -> bool:
                await run_sweeps()
                return [await count(users, table) for table in tables] == [0, 0, 0, 0]

            await eventually(are_deleted)
