from collections.abc import AsyncIterator

import pytest
from chassis import rpc, testing
from inventory_harness import FakeProducts, Inventory
from inventory_service.app import Settings, build
from shopapi.inventory.v1 import inventory_pb2_grpc
from shopapi.product.v1 import product_pb2_grpc
from shopapi.user.v1 import user_pb2_grpc


@pytest.fixture(scope="session")
async def inventory() -> AsyncIterator[Inventory]:
    issuer = testing.TokenIssuer()
    async with (
        testing.fresh_database("inventory_service") as database,
        testing.fresh_vhost() as broker_url,
        testing.grpc_server(
            lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(testing.FakeUserService(issuer), server),
            lambda server: product_pb2_grpc.add_ProductServiceServicer_to_server(FakeProducts(), server),
        ) as neighbours,
    ):
        settings = Settings(
            **database.model_dump(),
            rabbitmq_url=broker_url,
            user_grpc=neighbours,
            product_grpc=neighbours,
            grpc_port=0,
            expiry_sweep_seconds=0.05,
        )
        async with testing.running(await build(settings)) as service:
            channel = rpc.channel(f"127.0.0.1:{service.rpc_port}")
            stub = inventory_pb2_grpc.InventoryServiceStub(channel)
            yield Inventory(service.http, stub, issuer, broker_url, database)
            await channel.close()
