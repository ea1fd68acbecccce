import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.tokens import TokenIssuer

sys.path.insert(0, str(Path(__file__).parent))  # for the harness

from gateway_harness import FakeUpstream, OpenGateway, gateway_opener, serve
from shopapi.user.v1 import user_pb2_grpc


@pytest.fixture
def refusing_socket() -> Iterator[socket.socket]:
    """A bound socket, whose port refuses connections until a test listens on it."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest.fixture(scope="session")
def issuer() -> TokenIssuer:
    return TokenIssuer()


@pytest.fixture(scope="session")
async def user_grpc(issuer: TokenIssuer) -> AsyncIterator[str]:
    fake = FakeUserService(issuer)
    async with grpc_server(lambda s: user_pb2_grpc.add_UserServiceServicer_to_server(fake, s)) as address:
        yield address


@pytest.fixture(scope="session")
async def upstream_server() -> AsyncIterator[tuple[FakeUpstream, str]]:
    upstream = FakeUpstream()
    async with serve(upstream) as url:
        yield upstream, url


@pytest.fixture
def upstream(upstream_server: tuple[FakeUpstream, str]) -> FakeUpstream:
    upstream_server[0].reset()
    return upstream_server[0]


@pytest.fixture
def upstream_url(upstream_server: tuple[FakeUpstream, str], upstream: FakeUpstream) -> str:
    return upstream_server[1]


@pytest.fixture(scope="session")
def open_gateway(user_grpc: str) -> OpenGateway:
    return gateway_opener(user_grpc)


@pytest.fixture(scope="session")
async def gateway(
    open_gateway: OpenGateway, upstream_server: tuple[FakeUpstream, str]
) -> AsyncIterator[httpx.AsyncClient]:
    async with open_gateway(upstream_server[1]) as client:
        yield client
