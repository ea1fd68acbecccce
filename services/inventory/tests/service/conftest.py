from collections.abc import AsyncIterator

import pytest
from chassis.database.engine import Database
from chassis_testing.broker import new_vhost
from chassis_testing.callers import KNOWN_CALLERS, OWN_TOKENS, open_caller_channel
from chassis_testing.databases import migrated_database
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from inventory_harness import FakeOrderService, FakeProducts, Inventory, UseCases, open_use_cases, violations
from inventory_service.app import SCHEMA, build
from inventory_service.handlers.grpc import ALLOWED_CALLERS
from inventory_service.settings import Settings
from shopapi.inventory.v1 import inventory_pb2_grpc
from shopapi.order.v1 import order_pb2_grpc
from shopapi.product.v1 import product_pb2_grpc
from shopapi.user.v1 import user_pb2_grpc


@pytest.fixture(scope="session")
async def running_inventory() -> AsyncIterator[tuple[Inventory, Database]]:
    issuer, orders = TokenIssuer(), FakeOrderService()
    async with (
        migrated_database("inventory_service") as database,
        new_vhost() as broker_url,
        grpc_server(
            lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(FakeUserService(issuer), server),
            lambda server: product_pb2_grpc.add_ProductServiceServicer_to_server(FakeProducts(), server),
            lambda server: order_pb2_grpc.add_OrderServiceServicer_to_server(orders, server),
        ) as neighbours,
    ):
        settings = Settings(
            **database.model_dump(),
            rabbitmq_url=broker_url,
            user_grpc=neighbours,
            product_grpc=neighbours,
            order_grpc=neighbours,
            grpc_port=0,
            grpc_tokens=OWN_TOKENS,
            grpc_callers=KNOWN_CALLERS,
            expiry_sweep_seconds=0.05,
        )
        async with run_service(await build(settings)) as service:
            channel = open_caller_channel(f"127.0.0.1:{service.rpc_port}", ALLOWED_CALLERS)
            stub = inventory_pb2_grpc.InventoryServiceStub(channel)
            own_connections = Database(database, SCHEMA)
            yield Inventory(service.http, stub, issuer, orders, broker_url, database), own_connections
            await own_connections.close()
            await channel.close()


@pytest.fixture
async def inventory(running_inventory: tuple[Inventory, Database]) -> AsyncIterator[Inventory]:
    """The running service. Its invariants are checked after each test."""
    service, database = running_inventory
    yield service
    assert await violations(database) == {}


@pytest.fixture(scope="session")
async def shared_use_cases() -> AsyncIterator[UseCases]:
    async with migrated_database("inventory_service") as settings, open_use_cases(settings) as use_cases:
        yield use_cases


@pytest.fixture
async def use_cases(shared_use_cases: UseCases) -> AsyncIterator[UseCases]:
    """The use cases on a database of their own. Its invariants are checked after each test."""
    yield shared_use_cases
    shared_use_cases.orders.is_unavailable = False
    shared_use_cases.orders.before_answering = None
    shared_use_cases.orders.standings_by_order.clear()
    assert await violations(shared_use_cases.database) == {}
