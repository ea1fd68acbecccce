"""What this service asks the product service."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from chassis.grpc.client import call
from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money
from grpc import aio
from shopapi.product.v1 import product_pb2, product_pb2_grpc

from order_service.domain.orders import Offer


class Products(Protocol):
    async def offers(self, product_ids: Sequence[ProductId]) -> Mapping[ProductId, Offer]:
        """What is on sale of these; unknown products are left out."""


class GrpcProducts:
    def __init__(self, channel: aio.Channel) -> None:
        self._stub = product_pb2_grpc.ProductServiceStub(channel)

    async def offers(self, product_ids: Sequence[ProductId]) -> Mapping[ProductId, Offer]:
        answer = await call(self._stub.GetPrices, product_pb2.GetPricesRequest(product_ids=product_ids))
        return {ProductId(priced.product_id): _offer(priced) for priced in answer.products}


def _offer(priced: product_pb2.PricedProduct) -> Offer:
    price = Money(priced.price.amount, priced.price.currency)
    return Offer(ProductId(priced.product_id), priced.name, price, UserId(priced.seller_id))
