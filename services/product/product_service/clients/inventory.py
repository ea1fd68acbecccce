"""The inventory service, which has the stock of products."""

from typing import Protocol

from chassis.grpc.client import call
from chassis.types.ids import ProductId
from grpc import aio
from shopapi.inventory.v1 import inventory_pb2, inventory_pb2_grpc

from product_service.domain.details import Stock


class Inventory(Protocol):
    async def get_stock(self, product_id: ProductId) -> Stock:
        """Raises NeighbourUnavailable, NeighbourRefused."""


class GrpcInventory:
    """The inventory service over gRPC."""

    def __init__(self, channel: aio.Channel, deadline: float) -> None:
        """`deadline` limits each call, in seconds."""
        self._stub = inventory_pb2_grpc.InventoryServiceStub(channel)
        self._deadline = deadline

    async def get_stock(self, product_id: ProductId) -> Stock:
        request = inventory_pb2.GetStockRequest(product_id=product_id)
        stock = await call(self._stub.GetStock, request, self._deadline)
        shown = stock.shown_available if stock.HasField("shown_available") else stock.available
        return Stock(shown, is_exact=shown == stock.available)
