"""Password hashes: argon2id, computed off the event loop, with bounded concurrency and memory."""

import asyncio
import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2
from argon2.exceptions import VerifyMismatchError

from user_service.domain.errors import TooBusy

# OWASP's Password Storage Cheat Sheet gives settings of equal strength that trade memory for time. This one keeps
# _CONCURRENCY hashes inside the memory that a service may have.
_MEMORY_KIB, _PASSES, _LANES = 9216, 4, 1
_CONCURRENCY = 2
_MAX_WAITING = 64
"""About three seconds of work. A further request is refused with TooBusy instead of waiting past every deadline."""

_M_MMAP_THRESHOLD = -3
"""The parameter of mallopt(3)."""

_T = TypeVar("_T")


class PasswordHasher:
    def __init__(self) -> None:
        self._argon2 = argon2.PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
        _return_freed_memory()
        self._threads = ThreadPoolExecutor(_CONCURRENCY, "argon2")
        self._waiting = 0
        self._dummy_hash = self._argon2.hash("dummy password")

    async def hash(self, password: str) -> str:
        """Returns the hash of a password. Raises TooBusy."""
        return await self._run(lambda: self._argon2.hash(password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Returns whether the password matches the hash; False for None. Raises TooBusy.

        None costs as much work as a real hash, so that the time does not reveal who has an account.
        """
        matches = await self._run(lambda: self._matches(password, password_hash or self._dummy_hash))
        return matches and password_hash is not None

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, password: str, password_hash: str) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._waiting >= _MAX_WAITING:
            raise TooBusy
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _return_freed_memory() -> None:
    """Makes glibc return freed blocks of a hash's size to the system at once.

    By default each thread keeps one for its next hash, which is a fifth of this process's memory; a fixed threshold
    turns that off.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MEMORY_KIB * 1024 // 4)
