"""Hashing: bounded in memory and in number, and as slow for a stranger as for a user."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import pytest
from user_service.domain.errors import TooBusy
from user_service.service import passwords as hashing
from user_service.service.passwords import Passwords


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords()
    yield made
    await made.close()


async def test_a_hash_tells_its_password_from_others(passwords: Passwords) -> None:
    hashed = await passwords.hash("a password")
    assert hashed.startswith("$argon2id$")
    assert hashed != await passwords.hash("a password")
    assert await passwords.verify("a password", hashed)
    assert not await passwords.verify("another", hashed)


async def test_who_has_no_account_costs_as_much_as_who_has_one(passwords: Passwords) -> None:
    hashed = await passwords.hash("a password")

    async def seconds(password_hash: str | None) -> float:
        started = time.perf_counter()
        assert not await passwords.verify("another", password_hash)
        return time.perf_counter() - started

    known = min([await seconds(hashed) for _ in range(5)])
    unknown = min([await seconds(None) for _ in range(5)])
    assert known / 3 < unknown < known * 3


_HASH_MANY = """
import asyncio
from user_service.service.passwords import Passwords

def resident_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

async def main():
    before, passwords = resident_kib(), Passwords()
    await asyncio.gather(*(passwords.hash("a password") for _ in range(8)))
    print(resident_kib() - before)

asyncio.run(main())
"""


async def test_hashing_leaves_no_memory_behind() -> None:
    """In a process of its own: what earlier tests left would hide it."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", _HASH_MANY, stdout=asyncio.subprocess.PIPE)
    grown_kib, _ = await child.communicate()
    assert int(grown_kib) < hashing._MEMORY_KIB // 2


async def test_hashing_does_not_keep_others_waiting(passwords: Passwords) -> None:
    turns = 0
    hashed = asyncio.ensure_future(passwords.hash("a password"))
    while not hashed.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


async def test_who_finds_too_many_waiting_is_told_to_come_again(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_QUEUE", 1)
    first = asyncio.ensure_future(passwords.hash("a password"))
    await asyncio.sleep(0)
    with pytest.raises(TooBusy):
        await passwords.hash("a password")
    await first
    await passwords.hash("a password")
