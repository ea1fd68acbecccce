"""The erasure of a buyer's personal data.

Paid orders stay, since the shop's accounts need them; unpaid ones are cancelled; addresses and the cart go.
"""

from datetime import datetime

from chassis.types.ids import UserId
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.repository.buyers import BuyerRepository
from order_service.repository.carts import CartRepository
from order_service.repository.orders import OrderRepository
from order_service.service.orders import OrderService


async def erase_buyer(transaction: AsyncConnection, orders: OrderService, buyer_id: UserId, at: datetime) -> None:
    """Cancels the buyer's unpaid orders; deletes the cart, the address book and the addresses of finished orders.

    The address of an order that is not finished is deleted when it finishes: OrderService does that with the last
    status change.
    """
    buyers = BuyerRepository(transaction)
    await buyers.lock(buyer_id)
    await buyers.erase(buyer_id, at)
    await orders.cancel_pending_of_buyer(transaction, buyer_id)
    await CartRepository(transaction).remove_of_buyer(buyer_id)
    await OrderRepository(transaction).redact_addresses(buyer_id)
