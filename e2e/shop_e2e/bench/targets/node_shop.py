"""What the peers that run on Node.js have in common: a server and a worker, PostgreSQL and Redis."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from chassis_testing.ports import free_port

from shop_e2e.bench.catalogue import copies_for, spread
from shop_e2e.bench.servers import StoreServers
from shop_e2e.bench.targets.local_processes import LocalProcesses, create_database, drop_database
from shop_e2e.bench.targets.npm_projects import install
from shop_e2e.bench.targets.target import WORKS


class NodeShop(ABC):
    """A peer that is an npm project of e2e/bench/peers."""

    project: str
    """The name of its folder; that of its database is `bench_<project>`."""
    settings: str
    """The settings and requests of it that the report names."""
    works: Sequence[str] = WORKS
    stores: Sequence[str] = ("postgres", "redis")

    def __init__(self, servers: StoreServers, logs: Path) -> None:
        self.port = free_port()
        self._server = servers.addresses.postgres
        self._database = f"bench_{self.project}"
        self._dsn = urlunsplit(urlsplit(self._server)._replace(path=f"/{self._database}"))
        self._logs = logs
        self._environment: dict[str, str] = {"NODE_ENV": "production", "DATABASE_URL": self._dsn}
        self._processes = LocalProcesses(Path(), logs, {})
        self._versions: Mapping[str, str] = {}
        self._created = self._copies = 0

    async def _install(self) -> LocalProcesses:
        """Installs it with an empty database, and returns what runs its processes. Raises TargetError."""
        self._logs.mkdir(parents=True, exist_ok=True)
        folder = await install(self.project, self._logs)
        self._versions = json.loads((folder / "package.json").read_text())["dependencies"]
        await create_database(self._server, self._database)
        self._processes = LocalProcesses(folder, self._logs, self._environment)
        return self._processes

    @abstractmethod
    async def _copy_products(self, connection: asyncpg.Connection, copies: range) -> None:
        """Copies the products that were created, with their rows in all tables, once for each number of `copies`."""

    async def grow(self, size: int) -> int:
        copies = range(self._copies + 1, copies_for(size, self._created) + 1)
        connection = await asyncpg.connect(self._dsn)
        try:
            await self._copy_products(connection, copies)
            await connection.execute("VACUUM ANALYZE")
        finally:
            await connection.close()
        self._copies += len(copies)
        return self._created * (self._copies + 1)

    def _place_of(self, number: int) -> tuple[int, int]:
        """Returns the copy of the `number`-th product, 0 for one that was created, and its place among those."""
        return divmod(spread(number, self._created * (self._copies + 1)), self._created)

    async def stop(self) -> None:
        await self._processes.stop()

    async def remove(self) -> None:
        await drop_database(self._server, self._database)

    def facts(self) -> Mapping[str, str]:
        node = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()
        return {
            **self._versions,
            "Node.js": node,
            "processes": "2: a server and a worker",
            "settings": self.settings,
        }
