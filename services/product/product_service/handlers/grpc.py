"""The gRPC service of the catalogue."""

from chassis.grpc.access import method_callers
from chassis.types.ids import ProductId
from grpc import aio
from shopapi.money.v1.money_pb2 import Money
from shopapi.product.v1 import product_pb2 as pb
from shopapi.product.v1 import product_pb2_grpc

from product_service.domain.products import Product
from product_service.service.products import ProductService

ALLOWED_CALLERS = method_callers(
    "shopapi.product.v1.ProductService",
    GetPrices={"order"},
    GetSeller={"inventory", "review"},
)


class ProductServicer(product_pb2_grpc.ProductServiceServicer):
    def __init__(self, products: ProductService) -> None:
        self._products = products

    def register(self, server: aio.Server) -> None:
        product_pb2_grpc.add_ProductServiceServicer_to_server(self, server)

    async def GetPrices(self, request: pb.GetPricesRequest, context: object) -> pb.GetPricesResponse:  # noqa: N802 - the contract's name
        found = await self._products.get_prices([ProductId(product_id) for product_id in request.product_ids])
        return pb.GetPricesResponse(products=[_priced_product(product) for product in found])

    async def GetSeller(self, request: pb.GetSellerRequest, context: object) -> pb.GetSellerResponse:  # noqa: N802 - the contract's name
        seller_id = await self._products.get_seller_id(ProductId(request.product_id))
        return pb.GetSellerResponse(product_id=request.product_id, seller_id=seller_id)


def _priced_product(product: Product) -> pb.PricedProduct:
    return pb.PricedProduct(
        product_id=product.id,
        name=product.name,
        price=Money(amount=product.price.amount, currency=product.price.currency),
        seller_id=product.seller_id,
    )
