"""The client of the product service."""

from typing import Protocol

from chassis.errors import NeighbourRefused
from chassis.grpc.client import DEADLINE_SECONDS, call
from chassis.types.ids import ProductId, UserId
from grpc import aio
from shopapi.product.v1 import product_pb2, product_pb2_grpc

from review_service.domain.errors import UnknownProduct


class Products(Protocol):
    async def seller_of(self, product_id: ProductId, deadline: float = DEADLINE_SECONDS) -> UserId:
        """Returns the seller of a product within `deadline` seconds. Raises UnknownProduct, NeighbourUnavailable."""


class GrpcProducts:
    def __init__(self, channel: aio.Channel) -> None:
        self._stub = product_pb2_grpc.ProductServiceStub(channel)

    async def seller_of(self, product_id: ProductId, deadline: float = DEADLINE_SECONDS) -> UserId:
        request = product_pb2.GetSellerRequest(product_id=product_id)
        try:
            response = await call(self._stub.GetSeller, request, deadline)
        except NeighbourRefused as problem:
            if problem.code == "unknown_product":
                raise UnknownProduct(product_id) from None
            raise
        return UserId(response.seller_id)
