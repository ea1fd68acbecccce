"""Measures what a refusal costs the gateway: `python -m shop_e2e.bench.refusal_cost --before CHECKOUT`.

A request holds the only slot of the order service, and buyers place orders over 64 connections: the gateway refuses
them all. Two releases run at the same time on the Redis of `make test-env-up`, and are measured alternately. A release
is a checkout; libraries are those of this one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from uuid import uuid4

from chassis_testing.callers import OWN_TOKENS, pairs
from chassis_testing.environment import environment_variable
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.ports import free_port
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from devtools.services import SERVICES
from shopapi.user.v1 import user_pb2_grpc

from shop_e2e.bench.http_client import CONNECTION_ERRORS, Connection, http_request
from shop_e2e.bench.processes import running_seconds
from shop_e2e.bench.targets.this_shop import UNREACHED, path_of

_CONNECTIONS = 64
_START_SECONDS = 60.0
_ORDER = {
    "items": [{"product_id": 1, "quantity": 1}],
    "shipping_address": {"name": "B. Buyer", "street": "1 Main St", "city": "Springfield", "country": "US"},
}
_OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"data":[]}'


@dataclass(slots=True)
class HangingService:
    """A service that answers its requests when it is told to."""

    port: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.arrived.set()
                await self.may_answer.wait()
                writer.write(_OK)
        except CONNECTION_ERRORS:
            writer.close()


@dataclass(slots=True)
class Gateway:
    """A gateway of one release, with the seconds of processor time that a refusal took in each round."""

    name: str
    process: asyncio.subprocess.Process
    port: int
    service: HangingService
    orders: Sequence[bytes]
    rounds: list[float] = field(default_factory=list)

    async def measure(self, refusals: int) -> None:
        """Adds a round. Raises AssertionError if anything but a refusal with a time to return is received."""
        self.service.arrived.clear()
        self.service.may_answer.clear()
        holder = Connection(self.port)
        holding = asyncio.create_task(holder.send(self.orders[0]))
        await self.service.arrived.wait()
        await self._be_refused(refusals // 4)  # until requests have been waiting for long enough
        before = running_seconds(self.process.pid)
        await self._be_refused(refusals)
        self.rounds.append((running_seconds(self.process.pid) - before) / refusals)
        self.service.may_answer.set()
        assert (await holding).status == 200
        await holder.close()

    async def _be_refused(self, times: int) -> None:
        left = iter(range(times))
        await asyncio.gather(*(self._order(order, left) for order in self.orders[1:]))

    async def _order(self, order: bytes, left: Iterator[int]) -> None:
        connection = Connection(self.port)
        for _ in left:
            reply = await connection.send(order)
            assert reply.status == 503, reply
            assert reply.header("Retry-After"), reply
        await connection.close()


@asynccontextmanager
async def _gateway(name: str, release: Path | None, user_grpc: str, issuer: TokenIssuer) -> AsyncIterator[Gateway]:
    service, port = HangingService(), free_port()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HTTP_PORT": str(port),
        "METRICS_PORT": str(free_port()),
        "TENANT": uuid4().hex,
        "USER_GRPC": user_grpc,
        "GRPC_TOKENS": pairs({"user": OWN_TOKENS["user"]}),
        "REDIS_URL": environment_variable("TEST_REDIS_URL"),
        "RATE_LIMITS": UNREACHED,
        "UPSTREAM_SLOTS": "1",
        "UPSTREAM_DEADLINE_SECONDS": "60",
        **{f"{other.upper()}_URL": f"http://127.0.0.1:{service.port}" for other in SERVICES if other != "gateway"},
        **path_of(release),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway_service", "serve", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    orders = [
        http_request("POST", "/api/v1/orders", _ORDER, issuer.token(buyer, expires_in=3600))
        for buyer in range(1, _CONNECTIONS + 2)
    ]
    try:
        await eventually(lambda: _is_ready(port), _START_SECONDS)
        yield Gateway(name, process, port, service, orders)
    finally:
        process.terminate()
        await process.wait()
        server.close()


async def _is_ready(port: int) -> bool:
    connection = Connection(port)
    try:
        return (await connection.send(http_request("GET", "/ready"))).status == 200
    except CONNECTION_ERRORS:
        return False
    finally:
        await connection.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m shop_e2e.bench.refusal_cost", description=__doc__)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another release [none]")
    parser.add_argument("--rounds", type=int, default=8, help="[%(default)s]")
    parser.add_argument("--refusals", type=int, default=4000, metavar="N", help="of a round [%(default)s]")
    asyncio.run(_run(parser.parse_args(arguments)))


async def _run(options: argparse.Namespace) -> None:
    issuer = TokenIssuer()
    fake = FakeUserService(issuer)
    releases = {"before": options.before.resolve()} if options.before else {}
    async with AsyncExitStack() as closing:
        users = grpc_server(lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(fake, server))
        user_grpc = await closing.enter_async_context(users)
        gateways = [
            await closing.enter_async_context(_gateway(name, release, user_grpc, issuer))
            for name, release in {**releases, "now": None}.items()
        ]
        for number in range(options.rounds):
            for gateway in gateways if number % 2 else reversed(gateways):
                await gateway.measure(options.refusals)
                print(f"round {number + 1}, {gateway.name}: {gateway.rounds[-1] * 1000:.3f} ms", flush=True)
        for gateway in gateways:
            print(f"{gateway.name}: {median(gateway.rounds) * 1000:.3f} ms of processor time per refusal (median)")


if __name__ == "__main__":
    main()
