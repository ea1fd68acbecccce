"""The client of the product service."""

from typing import Protocol

from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis.types.ids import ProductId, UserId
from grpc import aio
from shopapi.product.v1 import product_pb2, product_pb2_grpc

from inventory_service.domain.errors import UnknownProduct


class Products(Protocol):
    async def seller_of(self, product_id: ProductId) -> UserId:
        """Returns the seller of a product. Raises UnknownProduct."""


class GrpcProducts:
    def __init__(self, channel: aio.Channel) -> None:
        self._stub = product_pb2_grpc.ProductServiceStub(channel)

    async def seller_of(self, product_id: ProductId) -> UserId:
        try:
            response = await call(self._stub.GetSeller, product_pb2.GetSellerRequest(product_id=product_id))
        except NeighbourRefused as problem:
            if problem.code == "unknown_product":
                raise UnknownProduct(product_id) from None
            raise
        return UserId(response.seller_id)
