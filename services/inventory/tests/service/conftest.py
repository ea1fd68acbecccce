from collections.abc import AsyncIterator

import pytest
from chassis.database.engine import Database
from chassis.grpc.client import open_channel
from chassis_testing.broker import new_vhost
from chassis_testing.databases import migrated_database
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from inventory_harness import FakeProducts, Inventory, Warehouse, broken, warehouse_of
from inventory_service.app import SCHEMA, Settings, build
from shopapi.inventory.v1 import inventory_pb2_grpc
from shopapi.product.v1 import product_pb2_grpc
from shopapi.user.v1 import user_pb2_grpc


@pytest.fixture(scope="session")
async def running_inventory() -> AsyncIterator[tuple[Inventory, Database]]:
    issuer = TokenIssuer()
    async with (
        migrated_database("inventory_service") as database,
        new_vhost() as broker_url,
        grpc_server(
            lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(FakeUserService(issuer), server),
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
        async with run_service(await build(settings)) as service:
            channel = open_channel(f"127.0.0.1:{service.rpc_port}")
            stub = inventory_pb2_grpc.InventoryServiceStub(channel)
            past_the_service = Database(database, SCHEMA)
            yield Inventory(service.http, stub, issuer, broker_url, database), past_the_service
            await past_the_service.close()
            await channel.close()


@pytest.fixture
async def inventory(running_inventory: tuple[Inventory, Database]) -> AsyncIterator[Inventory]:
    """The running service, whose books are looked at after the test."""
    service, database = running_inventory
    yield service
    assert await broken(database) == {}


@pytest.fixture(scope="session")
async def all_of_warehouse() -> AsyncIterator[Warehouse]:
    async with migrated_database("inventory_service") as settings, warehouse_of(settings) as warehouse:
        yield warehouse


@pytest.fixture
async def warehouse(all_of_warehouse: Warehouse) -> AsyncIterator[Warehouse]:
    """The use cases on a database of their own, whose books are looked at after the test."""
    yield all_of_warehouse
    assert await broken(all_of_warehouse.database) == {}
