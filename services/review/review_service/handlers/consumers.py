"""The handler of the event that a user account was erased."""

from collections.abc import Sequence

from chassis.messaging.inbox import EventHandler, handles
from chassis.types.ids import UserId
from shopapi.events.v1.events_pb2 import UserErased
from sqlalchemy.ext.asyncio import AsyncConnection

from review_service.service.erasure import ErasureService


def event_handlers(erasure: ErasureService) -> Sequence[EventHandler]:
    async def user_erased(transaction: AsyncConnection, user: UserErased) -> None:
        await erasure.erase_user(transaction, UserId(user.user_id))

    return [handles(UserErased, user_erased)]
