"""Password hashing: bounded in memory and concurrency, and as slow for an unknown account as for a known one."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import pytest
from user_service.domain.errors import TooBusy
from user_service.service import passwords as hashing
from user_service.service.passwords import PasswordHasher


@pytest.fixture
async def passwords() -> AsyncIterator[PasswordHasher]:
    made = PasswordHasher()
    yield made
    await made.close()


async def test_a_hash_matches_only_its_own_password(passwords: PasswordHasher) -> None:
    hashed = await passwords.hash("a password")
    assert hashed.startswith("$argon2id$")
    assert hashed != await passwords.hash("a password")
    assert await passwords.verify("a password", hashed)
    assert not await passwords.verify("another", hashed)


async def test_verifying_for_an_unknown_account_takes_as_long_as_for_a_known_one(passwords: PasswordHasher) -> None:
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
from user_service.service.passwords import PasswordHasher

def resident_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

async def main():
    before, passwords = resident_kib(), PasswordHasher()
    await asyncio.gather(*(passwords.hash("a password") for _ in range(8)))
    print(resident_kib() - before)

asyncio.run(main())
"""


async def test_hashing_returns_its_memory() -> None:
    """Runs in a process of its own, since memory that earlier tests left free would hide a leak."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", _HASH_MANY, stdout=asyncio.subprocess.PIPE)
    grown_kib, _ = await child.communicate()
    assert int(grown_kib) < hashing._MEMORY_KIB // 2


async def test_hashing_does_not_block_the_event_loop(passwords: PasswordHasher) -> None:
    iterations = 0
    hashed = asyncio.ensure_future(passwords.hash("a password"))
    while not hashed.done():
        await asyncio.sleep(0)
        iterations += 1
    assert iterations > 10


async def test_a_hash_is_refused_while_too_many_wait(
    passwords: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_MAX_WAITING", 1)
    first = asyncio.ensure_future(passwords.hash("a password"))
    await asyncio.sleep(0)
    with pytest.raises(TooBusy):
        await passwords.hash("a password")
    await first
    await passwords.hash("a password")
