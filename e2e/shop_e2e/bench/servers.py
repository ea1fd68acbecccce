"""The servers of a benchmark: PostgreSQL, Redis and RabbitMQ in containers, one of each for all targets.

PostgreSQL is durable: each commit is on disk before it is answered, and the data is not in memory. Smoke runs take the
servers of `make test-env-up` instead, on which a commit is cheap.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import asyncpg
import httpx
from chassis_testing.waiting import eventually
from devtools.stack import Servers

from shop_e2e.bench.processes import descendants
from shop_e2e.bench.targets.target import TargetError

STORES = ("postgres", "redis", "rabbitmq")
_HACK = Path(__file__).parents[3] / "hack"
_START_SECONDS = 90.0
_POSTGRES_PORT, _REDIS_PORT, _RABBITMQ_PORT, _MANAGEMENT_PORT = 25432, 26379, 25673, 25674
_RUN: Mapping[str, Sequence[str]] = {
    "postgres": (
        "--network", "host", "--shm-size", "1g", "--volume", "/var/lib/postgresql/data",
        "-e", "POSTGRES_USER=bench", "-e", "POSTGRES_PASSWORD=bench", "-e", "POSTGRES_DB=postgres",
        "-e", f"PGPORT={_POSTGRES_PORT}", "postgres:17", "postgres", "-c", "listen_addresses=127.0.0.1",
        "-c", "max_connections=400", "-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on",
        "-c", "shared_buffers=1GB", "-c", "effective_cache_size=4GB", "-c", "max_wal_size=4GB",
    ),
    "redis": (
        "--network", "host", "redis:8", "redis-server", "--port", str(_REDIS_PORT), "--bind", "127.0.0.1",
        "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction",
    ),
    "rabbitmq": (
        "--volume", "/var/lib/rabbitmq", "-p", f"127.0.0.1:{_RABBITMQ_PORT}:5672",
        "-p", f"127.0.0.1:{_MANAGEMENT_PORT}:15672", "-e", "RABBITMQ_DEFAULT_USER=bench",
        "-e", "RABBITMQ_DEFAULT_PASS=bench",
        "-e", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none +sbwtdcpu none +sbwtdio none", "rabbitmq:4-management",
    ),
}  # fmt: skip
_SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "server_version")


@dataclass(frozen=True, slots=True)
class StoreServers:
    """The addresses of the servers, and the containers that they run in."""

    addresses: Servers
    container_prefix: str

    def container(self, store: str) -> str:
        return f"{self.container_prefix}-{store}"

    def processes(self, store: str) -> set[int]:
        """Returns the ids of all processes of a store."""
        first = _first_process(self.container(store))
        return {first} | descendants(first)

    async def log_position(self) -> str:
        """Returns the position up to which PostgreSQL's write-ahead log is on disk."""
        return str(await self._value("SELECT pg_current_wal_flush_lsn()::text"))

    async def commits_since(self, position: str) -> int:
        """Returns how many transactions that wrote something were committed since that position of the log."""
        await self._value("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
        # There must be a record after the position, and a whole one.
        await self._value("SELECT pg_logical_emit_message(false, 'bench', '', true)::text")
        query = (
            "SELECT coalesce(sum(count), 0)::bigint FROM pg_get_wal_stats($1::text::pg_lsn, pg_current_wal_flush_lsn(),"
            " true) WHERE \"resource_manager/record_type\" = 'Transaction/COMMIT'"
        )
        return int(str(await self._value(query, position)))

    async def _value(self, query: str, *arguments: str) -> object:
        connection = await asyncpg.connect(self.addresses.postgres)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def facts(self) -> dict[str, str]:
        """Returns PostgreSQL's version and the settings that make a commit durable."""
        return {name: str(await self._value(f"SHOW {name}")) for name in _SETTINGS}


def shared_servers() -> StoreServers:
    """Returns the servers of `make test-env-up`. Raises StackError if the environment does not name them."""
    return StoreServers(Servers.from_environment(), "ecommerce-test")


@asynccontextmanager
async def durable_servers() -> AsyncIterator[StoreServers]:
    """Runs servers of the benchmark's own, with empty databases, until the block ends. Raises TargetError."""
    servers = StoreServers(
        Servers(
            f"postgresql://bench:bench@127.0.0.1:{_POSTGRES_PORT}/postgres",
            f"redis://127.0.0.1:{_REDIS_PORT}/0",
            f"amqp://bench:bench@127.0.0.1:{_RABBITMQ_PORT}/",
            f"http://127.0.0.1:{_MANAGEMENT_PORT}",
        ),
        "ecommerce-bench",
    )
    _build_images()
    try:
        for store in STORES:
            _remove(servers.container(store))
            docker("run", "--detach", "--name", servers.container(store), *_RUN[store])
        await _until_ready(servers.addresses)
        yield servers
    finally:
        for store in STORES:
            _remove(servers.container(store))


def _build_images() -> None:
    for script in ("cluster/docker-engine", "images/base-images", "images/store-images"):
        if subprocess.run([_HACK / script], check=False).returncode != 0:
            raise TargetError(f"hack/{script} failed: see its output above")


async def _until_ready(addresses: Servers) -> None:
    async def answer() -> bool:
        return await _has_postgres(addresses) and await _has_rabbitmq(addresses)

    try:
        await eventually(answer, _START_SECONDS)
    except AssertionError:
        raise TargetError("the servers do not answer: see docker logs ecommerce-bench-postgres") from None


async def _has_postgres(addresses: Servers) -> bool:
    try:
        await (await asyncpg.connect(addresses.postgres)).close()
    except (OSError, asyncpg.PostgresError):
        return False
    return True


async def _has_rabbitmq(addresses: Servers) -> bool:
    async with httpx.AsyncClient(auth=("bench", "bench")) as client:
        try:
            return (await client.get(f"{addresses.rabbitmq_management}/api/overview")).is_success
        except httpx.TransportError:
            return False


@cache
def _first_process(container: str) -> int:
    return int(docker("inspect", "--format", "{{.State.Pid}}", container).stdout)


def _remove(container: str) -> None:
    subprocess.run(["docker", "rm", "--force", "--volumes", container], check=False, capture_output=True)


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a docker command. Raises TargetError if it fails."""
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise TargetError(f"docker {arguments[0]} failed: {done.stderr.strip()}")
    return done
