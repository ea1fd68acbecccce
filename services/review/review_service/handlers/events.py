"""What other services' events do to reviews."""

from collections.abc import Sequence

from chassis.messaging.inbox import EventHandler, handles
from chassis.types.ids import UserId
from shopapi.events.v1.events_pb2 import UserErased
from sqlalchemy.ext.asyncio import AsyncConnection

from review_service.service.reviews import Reviews


def effects(reviews: Reviews) -> Sequence[EventHandler]:
    async def erased(transaction: AsyncConnection, user: UserErased) -> None:
        await reviews.erase_within(transaction, UserId(user.user_id))

    return [handles(UserErased, erased)]
