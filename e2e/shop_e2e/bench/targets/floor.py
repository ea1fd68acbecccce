"""The floor: the least that a list and a commit can cost on the same machine and servers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from chassis_testing.ports import free_port

from shop_e2e.bench.catalogue import Catalogue, copies_for, page_of
from shop_e2e.bench.http_client import Reply, http_request
from shop_e2e.bench.processes import processor_seconds
from shop_e2e.bench.row_copies import copy_rows, shifted
from shop_e2e.bench.samples import Case, Sample
from shop_e2e.bench.servers import StoreServers, docker
from shop_e2e.bench.targets.local_processes import LocalProcesses, create_database, drop_database
from shop_e2e.bench.targets.target import SellsNothing

COMMIT = "commit"
"""The work of pgbench: one inserted row per transaction."""
_DATABASE = "bench_floor"
_COLUMNS = ("id", "name", "description", "price_amount", "price_currency", "category")


class Floor(SellsNothing):
    name = "floor"
    works: Sequence[str] = ("list",)
    stores: Sequence[str] = ("postgres",)

    def __init__(self, servers: StoreServers, logs: Path) -> None:
        self._servers = servers
        server = servers.addresses.postgres
        self._dsn = urlunsplit(urlsplit(server)._replace(path=f"/{_DATABASE}"))
        self._processes = LocalProcesses(Path(__file__).parent, logs, {"FLOOR_DSN": self._dsn})
        self._port = free_port()
        self._originals = self._copies = 0

    @property
    def port(self) -> int:
        return self._port

    async def prepare(self, catalogue: Catalogue) -> None:
        await create_database(self._servers.addresses.postgres, _DATABASE)
        rows = [
            (number, product.name, product.description, product.amount, "USD", product.subcategory.department)
            for number, product in enumerate(catalogue.products, 1)
        ]
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute(
                "CREATE TABLE products (id bigint PRIMARY KEY, name text NOT NULL, description text NOT NULL,"
                " price_amount bigint NOT NULL, price_currency text NOT NULL, category text NOT NULL);"
                " CREATE TABLE commits (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL)"
            )
            await connection.copy_records_to_table("products", records=rows, columns=_COLUMNS)
        finally:
            await connection.close()
        self._originals = len(rows)

    async def grow(self, size: int) -> int:
        copies = range(self._copies + 1, copies_for(size, self._originals) + 1)
        connection = await asyncpg.connect(self._dsn)
        try:
            await copy_rows(connection, "products", copies, {"id": shifted("id")}, f"original.id <= {self._originals}")
            await connection.execute("VACUUM ANALYZE")
        finally:
            await connection.close()
        self._copies += len(copies)
        return self._originals * (self._copies + 1)

    async def start(self) -> None:
        command = ("-m", "uvicorn", "shop_e2e.bench.floor_app:app", "--port", str(self._port), "--no-access-log")
        await self._processes.start("floor", sys.executable, *command, "--log-level", "warning")
        await self._processes.until_healthy(f"http://127.0.0.1:{self._port}/?page=1")

    async def stop(self) -> None:
        await self._processes.stop()

    async def remove(self) -> None:
        await drop_database(self._servers.addresses.postgres, _DATABASE)

    def facts(self) -> Mapping[str, str]:
        return {"version": f"asyncpg {version('asyncpg')}, uvicorn {version('uvicorn')}", "processes": "1"}

    def read(self, work: str, number: int) -> bytes:
        return http_request("GET", f"/?page={page_of(number, self._originals)}")

    def rows(self, work: str, reply: Reply) -> int:
        return len(reply.json()["data"])

    def is_answer(self, reply: Reply) -> bool:
        return reply.status == 200

    def measure_commits(self, products: int, connections: int, round_: int, seconds: float) -> Sample:
        """Runs pgbench on the same server: so many connections, each inserts one row per transaction. Raises
        TargetError.
        """
        server, container = urlsplit(self._dsn), self._servers.container("postgres")
        script = "echo \"INSERT INTO commits (note) VALUES ('a commit');\" > /tmp/commit.sql; rm -f /tmp/commits.*;"
        run = (
            f"PGPASSWORD={server.password} pgbench --no-vacuum --client {connections} --time {max(round(seconds), 1)}"
            f" --file /tmp/commit.sql --log --log-prefix /tmp/commits -h 127.0.0.1 -p {server.port}"
            f" -U {server.username} {_DATABASE} >&2; cat /tmp/commits.*"
        )
        used = processor_seconds(self._servers.processes("postgres"))
        log = docker("exec", container, "bash", "-c", script + run).stdout
        milliseconds = [int(line.split()[2]) / 1000 for line in log.splitlines()]
        return Sample(
            target=self.name,
            case=Case(products, connections, COMMIT),
            round=round_,
            milliseconds=milliseconds,
            requests=len(milliseconds),
            seconds=max(round(seconds), 1),
            processor=processor_seconds(self._servers.processes("postgres")) - used,
            client_share=0.0,
            commits=len(milliseconds),
            failures=(),
        )
