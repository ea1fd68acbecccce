"""Stock and reservations over gRPC."""

from datetime import UTC, datetime
from uuid import UUID

from chassis.database.change_counts import ChangeCount
from chassis.errors import ProblemError
from chassis.grpc.access import method_callers
from chassis.http.problems import INVALID_FIELD
from chassis.types.ids import OrderId, ProductId
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from shopapi.inventory.v1 import inventory_pb2 as pb
from shopapi.inventory.v1 import inventory_pb2_grpc

from inventory_service.domain.stock import Line, Stock
from inventory_service.service.reservations import ReservationService
from inventory_service.service.stock import StockService

ALLOWED_CALLERS = method_callers(
    "shopapi.inventory.v1.InventoryService",
    GetStock={"product"},
    GetStocks={"order", "product"},
    Reserve={"order"},
    Release={"order"},
    GetChangeCount={"product"},
)


class InventoryServicer(inventory_pb2_grpc.InventoryServiceServicer):
    def __init__(self, stock: StockService, reservations: ReservationService, changes: ChangeCount) -> None:
        self._stock = stock
        self._reservations = reservations
        self._changes = changes

    def register(self, server: aio.Server) -> None:
        inventory_pb2_grpc.add_InventoryServiceServicer_to_server(self, server)

    async def GetStock(self, request: pb.GetStockRequest, context: object) -> pb.GetStockResponse:  # noqa: N802 - the contract's name
        return self._response(await self._stock.stock_of(ProductId(request.product_id)))

    async def GetStocks(self, request: pb.GetStocksRequest, context: object) -> pb.GetStocksResponse:  # noqa: N802 - the contract's name
        stocks = await self._stock.stocks_of({ProductId(product_id) for product_id in request.product_ids})
        return pb.GetStocksResponse(stocks=[self._response(stock) for stock in stocks])

    async def Reserve(self, request: pb.ReserveRequest, context: object) -> pb.ReserveResponse:  # noqa: N802 - the contract's name
        await self._reservations.reserve(_order_id(request.order_id), _lines(request), _time(request.until))
        return pb.ReserveResponse()

    async def Release(self, request: pb.ReleaseRequest, context: object) -> pb.ReleaseResponse:  # noqa: N802 - the contract's name
        await self._reservations.release(_order_id(request.order_id))
        return pb.ReleaseResponse()

    async def GetChangeCount(  # noqa: N802 - the contract's name
        self, request: pb.GetChangeCountRequest, context: object
    ) -> pb.GetChangeCountResponse:
        return pb.GetChangeCountResponse(count=await self._changes.read())

    def _response(self, stock: Stock) -> pb.GetStockResponse:
        return pb.GetStockResponse(
            product_id=stock.product_id,
            on_hand=stock.on_hand,
            reserved=stock.reserved,
            committed=stock.committed,
            available=stock.available,
            shown_available=self._stock.show_to(None, stock).available,
        )


def _order_id(text: str) -> OrderId:
    try:
        return OrderId(UUID(text))
    except ValueError:
        raise ProblemError(INVALID_FIELD, "order_id: must be a UUID") from None


def _lines(request: pb.ReserveRequest) -> list[Line]:
    if not request.lines or any(line.quantity < 1 for line in request.lines):
        raise ProblemError(INVALID_FIELD, "lines: must be one or more, each of one unit or more")
    return [Line(ProductId(line.product_id), line.quantity) for line in request.lines]


def _time(timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise ProblemError(INVALID_FIELD, "until: must be a time between the years 1 and 9999") from None
