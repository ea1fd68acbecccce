import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.tokens import TokenIssuer

sys.path.insert(0, str(Path(__file__).parent))  # for the harness

from gateway_harness import Open, Upstream, opener, serve
from shopapi.user.v1 import user_pb2_grpc


@pytest.fixture
def refused() -> Iterator[socket.socket]:
    """A port that refuses connections until somebody listens on it."""
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
async def served() -> AsyncIterator[tuple[Upstream, str]]:
    upstream = Upstream()
    async with serve(upstream) as url:
        yield upstream, url


@pytest.fixture
def upstream(served: tuple[Upstream, str]) -> Upstream:
    served[0].reset()
    return served[0]


@pytest.fixture
def upstream_url(served: tuple[Upstream, str], upstream: Upstream) -> str:
    return served[1]


@pytest.fixture(scope="session")
def gateway_before(user_grpc: str) -> Open:
    return opener(user_grpc)


@pytest.fixture(scope="session")
async def gateway(gateway_before: Open, served: tuple[Upstream, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_before(served[1]) as client:
        yield client
