"""What this service asks the user service."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from chassis.errors import NeighbourRefused, NeighbourUnavailable
from chassis.grpc.client import call
from chassis.types.ids import UserId
from grpc import aio
from shopapi.user.v1 import user_pb2, user_pb2_grpc

_NAMES_AGE_SECONDS = 60.0
_MOST_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Names:
    """What users call themselves. None of one that is unknown; `is_complete` says whether all could be asked for."""

    by_user: dict[UserId, str | None]
    is_complete: bool


class Users:
    """Names are kept for a minute: a page of reviews asks for as many as it has authors, and they hardly change."""

    def __init__(self, channel: aio.Channel, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        """An answer is waited for `deadline` seconds."""
        self._deadline = deadline
        self._stub = user_pb2_grpc.UserServiceStub(channel)
        self._clock = clock
        self._kept: dict[UserId, tuple[float, str | None]] = {}

    async def names_of(self, users: Collection[UserId]) -> Names:
        """Asks for all of them at once; who is not known in time is left out. Raises nothing."""
        wanted = set(users)
        oldest = self._clock() - _NAMES_AGE_SECONDS
        names = {user: kept[1] for user in wanted if (kept := self._kept.get(user)) is not None and kept[0] > oldest}
        missing = sorted(wanted - set(names))
        answers = await asyncio.gather(*map(self._name_of, missing), return_exceptions=True)
        for user, answer in zip(missing, answers, strict=True):
            if isinstance(answer, NeighbourUnavailable):
                continue
            if isinstance(answer, BaseException):
                raise answer
            names[user] = answer
            self._keep(user, answer)
        return Names(names, is_complete=len(names) == len(wanted))

    def forget(self, user: UserId) -> None:
        self._kept.pop(user, None)

    async def _name_of(self, user: UserId) -> str | None:
        try:
            answer = await call(self._stub.GetUser, user_pb2.GetUserRequest(user_id=user), self._deadline)
        except NeighbourRefused:  # unknown, or refused: nobody whom we could name
            return None
        return answer.display_name

    def _keep(self, user: UserId, name: str | None) -> None:
        if len(self._kept) >= _MOST_NAMES:
            self._kept.clear()
        self._kept[user] = self._clock(), name
