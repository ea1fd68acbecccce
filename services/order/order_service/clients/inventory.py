"""The inventory service: reserves and releases stock, and says what is available."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis.grpc.wire import timestamp
from chassis.types.ids import OrderId, ProductId
from grpc import aio
from shopapi.inventory.v1 import inventory_pb2, inventory_pb2_grpc

from order_service.domain.errors import Excess, OutOfStock, QuantityLimit, Shortage
from order_service.domain.items import Line


class Inventory(Protocol):
    async def reserve(self, order_id: OrderId, lines: Sequence[Line], until: datetime) -> None:
        """Reserves every line for the order, or none; idempotent by order id. Raises OutOfStock, QuantityLimit."""

    async def release(self, order_id: OrderId) -> None:
        """Releases what is reserved for an order; does nothing if there is no reservation."""

    async def available(self, product_ids: Sequence[ProductId]) -> dict[ProductId, int]:
        """Returns the number of units of each product that can be ordered now."""


class GrpcInventory:
    def __init__(self, channel: aio.Channel, available_deadline: float) -> None:
        """`available_deadline` is the time in seconds that `available` may take."""
        self._available_deadline = available_deadline
        self._stub = inventory_pb2_grpc.InventoryServiceStub(channel)

    async def reserve(self, order_id: OrderId, lines: Sequence[Line], until: datetime) -> None:
        reserved = [inventory_pb2.ReserveLine(product_id=line.product_id, quantity=line.quantity) for line in lines]
        request = inventory_pb2.ReserveRequest(order_id=str(order_id), lines=reserved, until=timestamp(until))
        try:
            await call(self._stub.Reserve, request)
        except NeighbourRefused as problem:
            if problem.code == "out_of_stock":
                raise OutOfStock(_shortages(problem)) from None
            if problem.code == "quantity_limit":
                raise QuantityLimit(_excesses(problem)) from None
            raise

    async def release(self, order_id: OrderId) -> None:
        await call(self._stub.Release, inventory_pb2.ReleaseRequest(order_id=str(order_id)))

    async def available(self, product_ids: Sequence[ProductId]) -> dict[ProductId, int]:
        request = inventory_pb2.GetStocksRequest(product_ids=product_ids)
        response = await call(self._stub.GetStocks, request, self._available_deadline)
        return {ProductId(stock.product_id): stock.available for stock in response.stocks}


def _shortages(problem: NeighbourRefused) -> list[Shortage]:
    return [
        Shortage(
            ProductId(product["product_id"]), product["requested"], product["available"], product.get("is_exact", True)
        )
        for product in problem.members["products"]
    ]


def _excesses(problem: NeighbourRefused) -> list[Excess]:
    return [
        Excess(ProductId(product["product_id"]), product["requested"], product["maximum"])
        for product in problem.members["products"]
    ]
