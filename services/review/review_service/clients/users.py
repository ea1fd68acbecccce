"""The client of the user service, with a cache of user names."""

import time
from collections.abc import Callable, Collection, Sequence
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
        """Reads all names that are not cached with one call."""
        requested = set(users)
        oldest = self._clock() - _CACHE_TTL_SECONDS
        names = {user: entry[1] for user in requested if (entry := self._cache.get(user)) and entry[0] > oldest}
        missing = sorted(requested - set(names))
        if missing:
            names |= await self._read_names(missing)
        return UserNames(names, is_complete=len(names) == len(requested))

    def forget(self, user: UserId) -> None:
        self._cache.pop(user, None)

    async def _read_names(self, users: Sequence[UserId]) -> dict[UserId, str | None]:
        """Returns and caches the names of users, None for those that do not exist; nothing without an answer in time.

        The release before this one of the user service has no such method, so during an upgrade it does not answer.
        """
        request = user_pb2.GetUserNamesRequest(user_ids=users)
        try:
            response = await call(self._stub.GetUserNames, request, self._deadline)
        except (NeighbourUnavailable, NeighbourRefused):
            return {}
        known = {user.user_id: user.display_name for user in response.users}
        names = {user: known.get(user) for user in users}
        for user, name in names.items():
            self._store(user, name)
        return names

    def _store(self, user: UserId, name: str | None) -> None:
        if len(self._cache) >= _MAX_CACHED_NAMES:
            self._cache.clear()
        self._cache[user] = self._clock(), name
