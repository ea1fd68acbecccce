"""What other services' news, and this one's own, do to the catalogue."""

from collections.abc import Sequence

from chassis.messaging.inbox import EventHandler, handles
from chassis.types.ids import ProductId, UserId
from shopapi.events.v1.events_pb2 import AvailabilityChanged, OrderConfirmed, ProductChanged, RatingChanged, UserErased
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.service.figures import count_order_within, tell_availability_within, tell_rating_within
from product_service.service.products import Products
from product_service.service.sellers import Sellers


def effects(products: Products, sellers: Sellers) -> Sequence[EventHandler]:
    async def confirmed(transaction: AsyncConnection, order: OrderConfirmed) -> None:
        await count_order_within(transaction, [ProductId(line.product_id) for line in order.lines])

    async def available(transaction: AsyncConnection, news: AvailabilityChanged) -> None:
        await tell_availability_within(transaction, ProductId(news.product_id), news.is_available, news.revision)

    async def rated(transaction: AsyncConnection, news: RatingChanged) -> None:
        await tell_rating_within(transaction, ProductId(news.product_id), news.stars, news.count, news.revision)

    async def changed(_transaction: AsyncConnection, news: ProductChanged) -> None:
        await products.forget(ProductId(news.product_id))

    async def erased(transaction: AsyncConnection, user: UserErased) -> None:
        await sellers.erased_within(transaction, UserId(user.user_id))

    return [
        handles(OrderConfirmed, confirmed),
        handles(AvailabilityChanged, available),
        handles(RatingChanged, rated),
        handles(ProductChanged, changed),
        handles(UserErased, erased),
    ]
