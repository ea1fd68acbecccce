"""The product service: says at which names and prices products are offered."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from chassis.grpc.client import call
from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money
from grpc import aio
from shopapi.product.v1 import product_pb2, product_pb2_grpc

from order_service.domain.items import Offer


class Products(Protocol):
    async def offers(self, product_ids: Sequence[ProductId]) -> Mapping[ProductId, Offer]:
        """Returns the current offers of these products; unknown products are left out."""


class GrpcProducts:
    def __init__(self, channel: aio.Channel) -> None:
        self._stub = product_pb2_grpc.ProductServiceStub(channel)

    async def offers(self, product_ids: Sequence[ProductId]) -> Mapping[ProductId, Offer]:
        response = await call(self._stub.GetPrices, product_pb2.GetPricesRequest(product_ids=product_ids))
        return {ProductId(product.product_id): _offer(product) for product in response.products}


def _offer(product: product_pb2.PricedProduct) -> Offer:
    price = Money(product.price.amount, product.price.currency)
    return Offer(ProductId(product.product_id), product.name, price, UserId(product.seller_id))
