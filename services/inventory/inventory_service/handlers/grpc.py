"""Stock over gRPC."""

from datetime import UTC
from uuid import UUID

from chassis.kernel.ids import OrderId, ProductId
from grpc import aio
from shopapi.inventory.v1 import inventory_pb2 as pb
from shopapi.inventory.v1 import inventory_pb2_grpc

from inventory_service.domain.stock import Line
from inventory_service.service.stock import StockKeeping


class InventoryServicer(inventory_pb2_grpc.InventoryServiceServicer):
    def __init__(self, stock: StockKeeping) -> None:
        self._stock = stock

    def register(self, server: aio.Server) -> None:
        inventory_pb2_grpc.add_InventoryServiceServicer_to_server(self, server)

    async def GetStock(self, request: pb.GetStockRequest, context: object) -> pb.GetStockResponse:  # noqa: N802 - the contract's name
        stock = await self._stock.stock_of(ProductId(request.product_id))
        return pb.GetStockResponse(
            product_id=stock.product_id, on_hand=stock.on_hand, reserved=stock.reserved, available=stock.available
        )

    async def Reserve(self, request: pb.ReserveRequest, context: object) -> pb.ReserveResponse:  # noqa: N802 - the contract's name
        lines = [Line(ProductId(line.product_id), line.quantity) for line in request.lines]
        await self._stock.reserve(OrderId(UUID(request.order_id)), lines, request.until.ToDatetime(UTC))
        return pb.ReserveResponse()

    async def Release(self, request: pb.ReleaseRequest, context: object) -> pb.ReleaseResponse:  # noqa: N802 - the contract's name
        await self._stock.release(OrderId(UUID(request.order_id)))
        return pb.ReleaseResponse()
