"""The whole shop as processes on this machine, on the servers that `make test-env-up` starts.

A developer's stack runs on the ports of the design (devtools.run_all); tests run isolated stacks beside it
(shop_e2e.isolated.stacks).
"""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import asyncpg
import httpx
import redis.asyncio as redis
from chassis_testing import broker
from chassis_testing.databases import create_runtime_role, runtime_role
from chassis_testing.ports import free_port

from devtools.services import SERVICES, grpc_credentials
from devtools.terminal import lines_of

_START_SECONDS = 60
_STOP_SECONDS = 20
_LOG_TAIL = 3000


_METRICS_OFFSET = 1400
"""The metrics port is the HTTP port plus this: metrics of the service on 8083 are on 9483."""


class StackError(Exception):
    """A part of the stack did not start. `reason` says in one line which and why; the message has the end of its log as
    well.
    """

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(f"{reason}:\n{log}" if log else reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Servers:
    """The addresses of the test servers."""

    postgres: str
    redis: str
    rabbitmq: str
    rabbitmq_management: str

    @classmethod
    def from_environment(cls) -> "Servers":
        """Reads the addresses from the environment. Raises StackError."""
        try:
            return cls(
                os.environ["TEST_POSTGRES_DSN"],
                os.environ["TEST_REDIS_URL"],
                os.environ["TEST_RABBITMQ_URL"],
                os.environ["TEST_RABBITMQ_MANAGEMENT_URL"],
            )
        except KeyError as missing:
            raise StackError(
                f'{missing.args[0]} is not set: run `eval "$(hack/compose/test-env env)"` after `make test-env-up`'
            ) from None


@dataclass(frozen=True, slots=True)
class Ports:
    http: int
    grpc: int
    metrics: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The configuration of a stack. `name` isolates its databases and its broker from other stacks; `redis_database` is
    flushed at the start.
    """

    name: str
    logs: Path
    ports: Mapping[str, Ports]
    redis_database: int
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Additional environment variables, by service."""
    launcher: str | None = None
    """A module that runs each service's process in place of the service's own; its first argument is the service's
    name.

    CRASH_RECORD names the file in which it notes the crash points that it reaches, and CRASH_AT the point at which it
    kills itself.
    """
    proxied_ports: Mapping[str, int] = field(default_factory=dict)
    """Ports of this machine through which services reach `postgres`, `rabbitmq` and, by service name, each other's
    gRPC.
    """
    jwt_secret: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)
    admin_email: str = "admin@example.com"
    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    broker_password: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    """The password of the services' users on the broker, `<name>.<service>`."""
    grpc_secret: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)
    """The secret that the services' tokens are derived from. All processes of a stack start with the same."""


def free_ports() -> dict[str, Ports]:
    """Returns three ports per service that only this process uses."""
    return {name: Ports(free_port(), free_port(), free_port()) for name in SERVICES}


def design_ports() -> dict[str, Ports]:
    return {name: Ports(kind.http, kind.grpc or 0, kind.http + _METRICS_OFFSET) for name, kind in SERVICES.items()}


class Stack:
    """A running shop. Single services can be stopped, killed and started again."""

    def __init__(self, plan: Plan, servers: Servers, on_line: Callable[[str, str], None] | None = None) -> None:
        """`on_line` gets the name of a service and each line that it writes; the log files have it in any case."""
        self.plan = plan
        self.servers = servers
        self._on_line = on_line
        self._line_readers: dict[asyncio.subprocess.Process, asyncio.Task[None]] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    @property
    def url(self) -> str:
        """The gateway's URL."""
        return self.url_of("gateway")

    def url_of(self, service: str) -> str:
        return f"http://127.0.0.1:{self.plan.ports[service].http}"

    def grpc_of(self, service: str) -> str:
        return f"127.0.0.1:{self.plan.ports[service].grpc}"

    def database_of(self, service: str) -> str:
        """Returns the DSN of a service's database, with its owner."""
        return urlunsplit(urlsplit(self.servers.postgres)._replace(path=f"/{self._database_name(service)}"))

    def databases(self) -> list[str]:
        """Returns the database names of all services."""
        return [self._database_name(service) for service, kind in SERVICES.items() if kind.database]

    def log_of(self, service: str) -> Path:
        return self.plan.logs / f"{service}.log"

    def crash_points_of(self, service: str) -> Path:
        """Returns the file in which the launcher notes the crash points that a service reaches, one per line."""
        return self.plan.logs / f"{service}.points"

    async def start(self, *services: str) -> None:
        """Starts these services, or all, and waits until each is ready. Raises StackError."""
        for service in services or SERVICES:
            self._processes[service] = await self._serve(service)
        async with httpx.AsyncClient(timeout=5) as client:
            await asyncio.gather(*(self._until_ready(client, service) for service in services or SERVICES))

    async def start_with_crash_point(self, service: str, point: str) -> None:
        """Starts a service that kills itself when it first reaches `point`; see shop_e2e.faults.crash_points.

        Returns when it is ready or has died. Raises StackError.
        """
        self._processes[service] = process = await self._serve(service, CRASH_AT=point)
        async with httpx.AsyncClient(timeout=5) as client:
            try:
                await self._until_ready(client, service)
            except StackError:
                if process.returncode != -signal.SIGKILL:
                    raise

    @contextlib.asynccontextmanager
    async def restarted_on_exit(self, service: str) -> AsyncIterator[list[float]]:
        """Restarts the service whenever it dies while the block runs, as Kubernetes does. Yields the times of its
        deaths.
        """
        deaths: list[float] = []

        async def watch() -> None:
            while True:
                await self._processes[service].wait()
                deaths.append(time.monotonic())
                await self.start(service)

        watching = asyncio.create_task(watch())
        try:
            yield deaths
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def stop(self, *services: str) -> None:
        """Stops those of these services that run, or all, as Kubernetes does: SIGTERM, a grace period, SIGKILL."""
        chosen = [self._processes.pop(service) for service in services or list(self._processes) if self.runs(service)]
        for process in chosen:
            _signal(process, signal.SIGTERM)
        await asyncio.gather(*(self._ended_in_time(process) for process in chosen))

    async def ended(self, service: str) -> int:
        """Waits until a started service has exited and returns its exit status; a signal's number is negative."""
        return await self._ended(self._processes[service])

    def runs(self, service: str) -> bool:
        process = self._processes.get(service)
        return process is not None and process.returncode is None

    def process_id_of(self, service: str) -> int:
        """Returns the id of the process of a service that was started."""
        return self._processes[service].pid

    async def kill(self, service: str) -> None:
        """Sends SIGKILL, whatever the service is doing."""
        process = self._processes.pop(service)
        _signal(process, signal.SIGKILL)
        await process.wait()

    async def prepare(self) -> None:
        """Creates the virtual host with its users and flushes the Redis database; `migrate` creates the databases."""
        await asyncio.gather(self._create_vhost(), self._flush_redis())

    async def migrate(self, *services: str) -> None:
        """Creates missing databases and migrates those of these services, or all. Idempotent."""
        self.plan.logs.mkdir(parents=True, exist_ok=True)
        chosen = services or [service for service, kind in SERVICES.items() if kind.database]
        await self._create_databases(*chosen)
        await asyncio.gather(*(self._migrate(service) for service in chosen))

    async def resend(self, service: str, arguments: Sequence[str]) -> None:
        """Runs a service's `resend` command, which writes to this process's output. Raises StackError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"{service}_service", "resend", *arguments, env=self.environment_of(service)
        )
        if await process.wait() != 0:
            raise StackError(f"the events of {service} were not resent")

    async def remove(self) -> None:
        """Undoes `prepare` and `migrate`: drops the data of every stack of this name."""
        connection = await asyncpg.connect(self.servers.postgres)
        try:
            for name in self.databases():
                await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await connection.close()
        async with self._management() as client:
            await client.delete(f"/api/vhosts/{self.plan.name}")
            await broker.delete_users(client, self.plan.name)

    async def _create_databases(self, *services: str) -> None:
        connection = await asyncpg.connect(self.servers.postgres)
        try:
            await create_runtime_role(connection, self.servers.postgres)
            there = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
            for name in map(self._database_name, services):
                if name not in there:
                    await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()

    async def queues(self) -> dict[str, int]:
        """Returns the number of messages in each queue of this shop, unacknowledged ones included."""
        async with self._management() as client:
            listed = await client.get(f"/api/queues/{self.plan.name}")
            return {queue["name"]: queue.get("messages", 0) for queue in listed.raise_for_status().json()}

    async def purge_queue(self, name: str) -> int:
        """Deletes the messages of a queue, except the unacknowledged ones, and returns how many."""
        broker = urlsplit(self.servers.rabbitmq)
        async with await aio_pika.connect(urlunsplit(broker._replace(path=f"/{self.plan.name}"))) as connection:
            queue = await (await connection.channel()).get_queue(name)
            return (await queue.purge()).message_count or 0

    async def _create_vhost(self) -> None:
        async with self._management() as client:
            (await client.put(f"/api/vhosts/{self.plan.name}")).raise_for_status()
            await broker.load_definitions(client, self.plan.name, self.plan.broker_password)

    def _management(self) -> httpx.AsyncClient:
        server = urlsplit(self.servers.rabbitmq)
        return broker.management_client(self.servers.rabbitmq_management, server.username or "", server.password or "")

    async def _flush_redis(self) -> None:
        async with redis.from_url(self._redis_url()) as client:
            await client.flushdb()

    async def _migrate(self, service: str) -> None:
        role, owner = runtime_role(self.servers.postgres), urlsplit(self.servers.postgres)
        as_owner = {
            "DB_USER": owner.username or "",
            "DB_PASSWORD": owner.password or "",
            "DB_RUNTIME_USER": role.name,
            "DB_RUNTIME_PASSWORD": role.password,
        }
        if await self._ended(await self._run(service, [f"{service}_service", "migrate"], as_owner)) != 0:
            raise StackError(f"{service} could not be migrated", self._log_tail(service))

    async def _serve(self, service: str, **dying: str) -> asyncio.subprocess.Process:
        if self.plan.launcher is None:
            return await self._run(service, [f"{service}_service", "serve"])
        noting = {"CRASH_RECORD": str(self.crash_points_of(service))}
        return await self._run(service, [self.plan.launcher, service, "serve"], {**noting, **dying})

    async def _run(
        self, service: str, arguments: Sequence[str], extra: Mapping[str, str] | None = None
    ) -> asyncio.subprocess.Process:
        with self.log_of(service).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log if self._on_line is None else asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**self.environment_of(service), **(extra or {})},
                start_new_session=True,  # an interrupt reaches this process only, which stops the others in order
            )
        if self._on_line is not None:
            self._line_readers[process] = asyncio.create_task(self._pass_on(service, process, self._on_line))
        return process

    async def _pass_on(
        self, service: str, process: asyncio.subprocess.Process, on_line: Callable[[str, str], None]
    ) -> None:
        if process.stdout is None:
            return
        with self.log_of(service).open("a") as log:
            async for line in lines_of(process.stdout):
                log.write(f"{line}\n")
                log.flush()
                on_line(service, line)

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """Returns the exit status after all output has been passed on."""
        status = await process.wait()
        if process in self._line_readers:
            await self._line_readers[process]
            self._line_readers.pop(process, None)
        return status

    async def _ended_in_time(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._ended(process)
        except TimeoutError:
            process.kill()
            await self._ended(process)

    async def _until_ready(self, client: httpx.AsyncClient, service: str) -> None:
        process = self._processes[service]
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await _is_ready(client, self.url_of(service)):
                    if process.returncode is not None:
                        raise StackError(f"{service} ended by itself", self._log_tail(service))
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise StackError(f"{service} is not ready after {_START_SECONDS} s", self._log_tail(service)) from None

    def environment_of(self, service: str) -> dict[str, str]:
        """Returns all environment variables of a service's process."""
        ports = self.plan.ports[service]
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONUNBUFFERED": "1",
            "HTTP_PORT": str(ports.http),
            "METRICS_PORT": str(ports.metrics),
            "TENANT": self.plan.name,
            "SHUTDOWN_DRAIN_SECONDS": "0.2",
        }
        for name, kind in SERVICES.items():
            environment[f"{name.upper()}_URL"] = self.url_of(name)
            if kind.grpc is not None:
                environment[f"{name.upper()}_GRPC"] = (
                    f"127.0.0.1:{self.plan.proxied_ports.get(name, self.plan.ports[name].grpc)}"
                )
        environment |= grpc_credentials(service, self.plan.grpc_secret)
        environment["REDIS_URL"] = self._redis_url()
        if SERVICES[service].database is not None:
            environment |= self._backend_environment(service)
        if service == "user":
            environment["JWT_SECRET"] = self.plan.jwt_secret
            environment["ADMIN_EMAIL"] = self.plan.admin_email
            environment["ADMIN_PASSWORD"] = self.plan.admin_password
        if service == "payment":
            environment["PAYMENT_PROVIDER"] = "simulated"
        return {**environment, **self.plan.settings.get(service, {})}

    def _backend_environment(self, service: str) -> dict[str, str]:
        server, role = urlsplit(self.servers.postgres), runtime_role(self.servers.postgres)
        return {
            "GRPC_PORT": str(self.plan.ports[service].grpc),
            "DB_HOST": server.hostname or "",
            "DB_PORT": str(self.plan.proxied_ports.get("postgres", server.port or 5432)),
            "DB_USER": role.name,
            "DB_PASSWORD": role.password,
            "DB_NAME": self._database_name(service),
            "RABBITMQ_URL": self._broker_url(service),
        }

    def _database_name(self, service: str) -> str:
        return f"{self.plan.name}_{SERVICES[service].database}"

    def _broker_url(self, service: str) -> str:
        server = urlsplit(self.servers.rabbitmq)
        port = self.plan.proxied_ports.get("rabbitmq", server.port or 5672)
        user = broker.user_of(self.plan.name, service)
        netloc = f"{user}:{self.plan.broker_password}@{server.hostname}:{port}"
        return urlunsplit(server._replace(netloc=netloc, path=f"/{self.plan.name}"))

    def _redis_url(self) -> str:
        return urlunsplit(urlsplit(self.servers.redis)._replace(path=f"/{self.plan.redis_database}"))

    def _log_tail(self, service: str) -> str:
        return self.log_of(service).read_text(errors="replace")[-_LOG_TAIL:]


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/ready")).is_success
    except httpx.TransportError:
        return False


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
