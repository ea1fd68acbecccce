"""The inventory service, which has the stock of products."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from chassis.grpc.client import call
from chassis.types.ids import ProductId
from grpc import aio
from shopapi.inventory.v1 import inventory_pb2, inventory_pb2_grpc

from product_service.clients.batches import BatchedRead
from product_service.domain.details import Stock


class Inventory(Protocol):
    async def get_stock(self, product_id: ProductId) -> Stock | None:
        """Returns None if inventory does not know it. Raises NeighbourUnavailable, NeighbourRefused."""

    async def read_change_count(self) -> int:
        """Returns how many changes of its data are committed. Raises NeighbourUnavailable, NeighbourRefused."""


class GrpcInventory:
    """The inventory service over gRPC."""

    def __init__(self, channel: aio.Channel, deadline: float) -> None:
        """`deadline` limits each call, in seconds."""
        self._stub = inventory_pb2_grpc.InventoryServiceStub(channel)
        self._deadline = deadline
        self._stocks = BatchedRead("stock", self._read, self._read_one)

    async def get_stock(self, product_id: ProductId) -> Stock | None:
        return await self._stocks.get(product_id)

    async def read_change_count(self) -> int:
        return (await call(self._stub.GetChangeCount, inventory_pb2.GetChangeCountRequest(), self._deadline)).count

    async def _read(self, product_ids: Sequence[ProductId]) -> Mapping[ProductId, Stock]:
        request = inventory_pb2.GetStocksRequest(product_ids=product_ids)
        stocks = (await call(self._stub.GetStocks, request, self._deadline)).stocks
        return {ProductId(stock.product_id): _stock(stock) for stock in stocks}

    async def _read_one(self, product_id: ProductId) -> Stock:
        """Asks a service of the release before, which lets only orders call GetStocks."""
        request = inventory_pb2.GetStockRequest(product_id=product_id)
        return _stock(await call(self._stub.GetStock, request, self._deadline))


def _stock(stock: inventory_pb2.GetStockResponse) -> Stock:
    shown = stock.shown_available if stock.HasField("shown_available") else stock.available
    return Stock(shown, is_exact=shown == stock.available)
