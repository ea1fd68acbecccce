"""What inventory does to orders."""

from collections.abc import Sequence
from uuid import UUID

from chassis.inbox import Effect, when
from chassis.kernel.ids import OrderId
from shopapi.events.v1.events_pb2 import ReservationRejected
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.service.orders import Ordering


def effects(ordering: Ordering) -> Sequence[Effect]:
    async def rejected(transaction: AsyncConnection, reservation: ReservationRejected) -> None:
        await ordering.reject_within(transaction, OrderId(UUID(reservation.order_id)))

    return [when(ReservationRejected, rejected)]
