"""The inventory service as its tests drive it."""

from dataclasses import dataclass

import grpc
import httpx
from chassis import rpc, testing
from chassis.settings import DatabaseSettings
from chassis.tokens import Role
from shopapi.inventory.v1 import inventory_pb2_grpc
from shopapi.product.v1 import product_pb2, product_pb2_grpc

SELLER = 7


class FakeProducts(product_pb2_grpc.ProductServiceServicer):
    """The product service at its gRPC boundary: seller 7 sells every product below 1000, the rest are unknown."""

    async def GetPrices(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        raise NotImplementedError

    async def GetSeller(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        if request.product_id >= 1000:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such product", ((rpc.CODE_KEY, "unknown_product"),))
        return product_pb2.GetSellerResponse(product_id=request.product_id, seller_id=SELLER)


@dataclass(frozen=True)
class Inventory:
    """The running service: HTTP in process, gRPC over loopback, its relay and consumer on the real broker."""

    http: httpx.AsyncClient
    rpc: inventory_pb2_grpc.InventoryServiceStub
    issuer: testing.TokenIssuer
    broker_url: str
    database: DatabaseSettings

    @property
    def seller(self) -> dict[str, str]:
        return self.issuer.bearer(SELLER, Role.SELLER)

    async def stock(self, product_id: int) -> dict[str, int]:
        data: dict[str, int] = (await self.http.get(f"/api/v1/inventory/{product_id}")).json()["data"]
        return data

    async def count(self, product_id: int, quantity: int) -> None:
        answer = await self.http.put(
            f"/api/v1/inventory/{product_id}", json={"quantity": quantity}, headers=self.seller
        )
        answer.raise_for_status()
