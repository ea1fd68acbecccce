"""The client of the user service, with a cache of user names."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from chassis.errors import NeighbourRefused, NeighbourUnavailable
from chassis.grpc.client import call
from chassis.types.ids import UserId
from grpc import aio
from shopapi.user.v1 import user_pb2, user_pb2_grpc

_CACHE_TTL_SECONDS = 60.0
_MAX_CACHED_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class UserNames:
    """The display names of users; None for a user who does not exist."""

    by_user: dict[UserId, str | None]
    is_complete: bool
    """False where some names could not be read from the user service."""


class Users(Protocol):
    async def names_of(self, users: Collection[UserId]) -> UserNames:
        """Returns the display names of users, without those that cannot be read in time. Raises nothing."""

    def forget(self, user: UserId) -> None:
        """Removes a user's name from the cache."""


class GrpcUsers:
    """Caches names for a minute: a page of reviews needs as many as it has authors, and they hardly change."""

    def __init__(self, channel: aio.Channel, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`deadline` is that of one call, in seconds."""
        self._deadline = deadline
        self._stub = user_pb2_grpc.UserServiceStub(channel)
        self._clock = clock
        self._cache: dict[UserId, tuple[float, str | None]] = {}

    async def names_of(self, users: Collection[UserId]) -> UserNames:
        """Reads all names that are not cached at the same time."""
        requested = set(users)
        oldest = self._clock() - _CACHE_TTL_SECONDS
        names = {user: entry[1] for user in requested if (entry := self._cache.get(user)) and entry[0] > oldest}
        missing = sorted(requested - set(names))
        results = await asyncio.gather(*map(self._read_name, missing), return_exceptions=True)
        for user, result in zip(missing, results, strict=True):
            if isinstance(result, NeighbourUnavailable):
                continue
            if isinstance(result, BaseException):
                raise result
            names[user] = result
            self._store(user, result)
        return UserNames(names, is_complete=len(names) == len(requested))

    def forget(self, user: UserId) -> None:
        self._cache.pop(user, None)

    async def _read_name(self, user: UserId) -> str | None:
        try:
            response = await call(self._stub.GetUser, user_pb2.GetUserRequest(user_id=user), self._deadline)
        except NeighbourRefused:  # the user does not exist, or the request is refused: either way there is no name
            return None
        return response.display_name

    def _store(self, user: UserId, name: str | None) -> None:
        if len(self._cache) >= _MAX_CACHED_NAMES:
            self._cache.clear()
        self._cache[user] = self._clock(), name
