"""The events that the product service consumes."""

from collections.abc import Sequence

from chassis.messaging.inbox import EventHandler, handles
from chassis.types.ids import ProductId, UserId
from shopapi.events.v1.events_pb2 import AvailabilityChanged, OrderConfirmed, ProductChanged, RatingChanged, UserErased
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.service import statistics
from product_service.service.evictions import EvictionService
from product_service.service.sellers import SellerService


def event_handlers(evictions: EvictionService, sellers: SellerService) -> Sequence[EventHandler]:
    async def order_confirmed(transaction: AsyncConnection, event: OrderConfirmed) -> None:
        await statistics.count_order(transaction, [ProductId(line.product_id) for line in event.lines])

    async def availability_changed(transaction: AsyncConnection, event: AvailabilityChanged) -> None:
        await statistics.update_availability(
            transaction, ProductId(event.product_id), event.is_available, event.revision
        )

    async def rating_changed(transaction: AsyncConnection, event: RatingChanged) -> None:
        await statistics.update_rating(
            transaction, ProductId(event.product_id), event.stars, event.count, event.revision
        )

    async def product_changed(transaction: AsyncConnection, event: ProductChanged) -> None:
        await evictions.evict(transaction, ProductId(event.product_id))

    async def user_erased(transaction: AsyncConnection, event: UserErased) -> None:
        await sellers.record_erasure(transaction, UserId(event.user_id))

    return [
        handles(OrderConfirmed, order_confirmed),
        handles(AvailabilityChanged, availability_changed),
        handles(RatingChanged, rating_changed),
        handles(ProductChanged, product_changed, is_batched=False),  # it calls the cache
        handles(UserErased, user_erased),
    ]
