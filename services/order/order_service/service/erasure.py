"""Forgetting a person. Their orders stay, since the books need them; what says where the person lives goes."""

from datetime import datetime

from chassis.types.ids import UserId
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.repository.buyers import BuyerRepository
from order_service.repository.carts import CartRepository
from order_service.repository.orders import OrderRepository


async def erase_within(transaction: AsyncConnection, user_id: UserId, at: datetime) -> None:
    """Cart and address book now, addresses of finished orders now, those of running ones when they finish (Journal.moved does that)."""
    buyers = BuyerRepository(transaction)
    await buyers.lock(user_id)
    await buyers.erase(user_id, at)
    await CartRepository(transaction).remove_of_buyer(user_id)
    await OrderRepository(transaction).blank_addresses(user_id)
