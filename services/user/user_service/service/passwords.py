"""Password hashes: argon2id, off the event loop, so many at once and no more."""

import asyncio
import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from user_service.domain.errors import TooBusy

# OWASP's Password Storage Cheat Sheet gives settings of equal strength that trade memory for time. This one keeps
# _AT_ONCE hashes inside the memory that a service may have.
_MEMORY_KIB, _PASSES, _LANES = 9216, 4, 1
_AT_ONCE = 2
_QUEUE = 64
"""About three seconds of work. Who comes later is told to come again instead of waiting past every deadline."""

_M_MMAP_THRESHOLD = -3
"""Of mallopt(3)."""

_T = TypeVar("_T")


class Passwords:
    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
        _give_memory_back()
        self._threads = ThreadPoolExecutor(_AT_ONCE, "argon2")
        self._waiting = 0
        self._nobody = self._hasher.hash("of nobody")

    async def hash(self, password: str) -> str:
        """Raises TooBusy."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """False for None, after as much work as for a real hash, so that time does not tell who has an account. Raises TooBusy."""
        matches = await self._run(lambda: self._matches(password, password_hash or self._nobody))
        return matches and password_hash is not None

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._waiting >= _QUEUE:
            raise TooBusy
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _give_memory_back() -> None:
    """Left to itself, glibc keeps a freed block of a hash's size for the next hash, in each thread: that is a fifth of this
    process's memory. Blocks above a fixed threshold go back to the system at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MEMORY_KIB * 1024 // 4)
