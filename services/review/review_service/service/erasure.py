"""The use case of an erased account."""

from collections.abc import Callable
from datetime import datetime

from chassis.types.ids import UserId
from sqlalchemy.ext.asyncio import AsyncConnection

from review_service.clients.users import Users
from review_service.repository.reviews import ReviewRepository


class ErasureService:
    def __init__(self, users: Users, now: Callable[[], datetime]) -> None:
        self._users = users
        self._now = now

    async def erase_user(self, transaction: AsyncConnection, user_id: UserId) -> None:
        """Deletes the texts and votes of an erased account and its cached name. Its stars still count."""
        self._users.forget(user_id)
        await ReviewRepository(transaction).erase(user_id, self._now())
