"""The programs of PostgreSQL as processes: pg_dump, pg_restore and psql, with TLS as the chassis has it."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from types import MappingProxyType

from chassis.settings import DatabaseSettings
from chassis.tls import SYSTEM

from platform_backup.errors import DatabaseFailed, DatabaseUnreachable

_PIPE_BYTES = 1 << 20
_STDERR_BYTES = 2000
_CONNECTION_LOST = 2
"""The exit status of psql after it has lost its connection, or got none."""
_LOST_SERVER = "keepalives_idle=30 keepalives_interval=10 keepalives_count=3 tcp_user_timeout=120000"
"""What ends a program's connection to a server whose node is gone without a reset: after two minutes, idle or not.

libpq has no variables for these. What this string does not have is still taken from the variables.
"""


@dataclass(frozen=True, slots=True)
class PostgresTools:
    """The programs in a folder, or on PATH if it is empty."""

    folder: str = ""

    async def major_version(self) -> int:
        """Returns the major version of pg_dump. Raises DatabaseFailed."""
        process = await self._start("pg_dump", ["--version"], {}, stdin=False)
        output, _ = await process.communicate()
        found = re.search(rb"(\d+)", output)
        if found is None:
            raise DatabaseFailed(f"pg_dump --version says {output[:100]!r}")
        return int(found[1])

    @asynccontextmanager
    async def run(
        self,
        program: str,
        arguments: list[str],
        database: DatabaseSettings | None = None,
        *,
        stdin: bool = False,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> AsyncIterator["Program"]:
        """Runs a program until the block ends, and kills it if it still runs then."""
        if database is not None:
            arguments = [*arguments, f"--dbname={_LOST_SERVER}"]
        async with _environment(database) as environment:
            process = await self._start(program, arguments, {**environment, **variables}, stdin=stdin)
            running = Program(program, process)
            try:
                yield running
            finally:
                await running.kill()

    async def _start(
        self, program: str, arguments: list[str], environment: Mapping[str, str], *, stdin: bool
    ) -> asyncio.subprocess.Process:
        path = shutil.which(program, path=self.folder or None)
        if path is None:
            raise DatabaseFailed(f"there is no {program} {f'in {self.folder}' if self.folder else 'on PATH'}")
        return await asyncio.create_subprocess_exec(
            path,
            *arguments,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_PIPE_BYTES,
            env={**os.environ, **environment},
        )


class Program:
    """A program that runs. Its stderr is read all the time, so that it never waits for that."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process
        self._stderr = asyncio.create_task(self._read_stderr())

    async def output(self) -> AsyncIterator[bytes]:
        """Yields the output. Raises DatabaseFailed at its end unless the program has succeeded."""
        assert self._process.stdout is not None  # noqa: S101 # as _start has it
        while part := await self._process.stdout.read(_PIPE_BYTES):
            yield part
        await self.succeeded()

    async def write(self, part: bytes) -> None:
        """Writes to its input. Raises DatabaseFailed if it has ended."""
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(part)
        try:
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            await self._fail()

    async def read_line(self) -> bytes:
        """Returns the next line of the output. Raises DatabaseFailed if the program ends before."""
        assert self._process.stdout is not None  # noqa: S101
        line = await self._process.stdout.readline()
        if not line:
            await self._fail()
        return line

    def close_input(self) -> None:
        """Tells the program that its input has ended."""
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()

    async def succeeded(self) -> None:
        """Waits for the end. Raises DatabaseFailed unless the program has succeeded."""
        if await self._process.wait() != 0:
            await self._fail()

    async def kill(self) -> None:
        """Kills the program and waits for its end.

        The wait of asyncio lasts until the pipes are closed too, so what no one has read of the output is read first.
        """
        with suppress(ProcessLookupError):
            self._process.kill()
        with suppress(RuntimeError):  # another task reads the output
            while self._process.stdout and await self._process.stdout.read(_PIPE_BYTES):
                pass
        await self._process.wait()
        self._stderr.cancel()

    async def _fail(self) -> None:
        status = await self._process.wait()
        said = (await self._stderr).decode(errors="replace").strip() or "nothing"
        lost = self._name == "psql" and status == _CONNECTION_LOST
        failure = DatabaseUnreachable if lost else DatabaseFailed
        raise failure(f"{self._name} ended with {status} and said: {said}", status)

    async def _read_stderr(self) -> bytes:
        """Returns the end of what the program wrote to stderr."""
        assert self._process.stderr is not None  # noqa: S101
        said = b""
        while part := await self._process.stderr.read(_STDERR_BYTES):
            said = (said + part)[-_STDERR_BYTES:]
        return said


@asynccontextmanager
async def _environment(database: DatabaseSettings | None) -> AsyncIterator[dict[str, str]]:
    """Gives the variables by which libpq connects to a database, as its owner, verified if it has an authority."""
    if database is None:
        yield {}
        return
    variables = {
        "PGHOST": database.db_host,
        "PGPORT": str(database.db_port),
        "PGUSER": database.db_user,
        "PGPASSWORD": database.db_password,
        "PGDATABASE": database.db_name,
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": "platform-backup",
    }
    if not database.db_ca:
        yield variables
        return
    if database.db_ca == SYSTEM:
        yield {**variables, "PGSSLMODE": "verify-full", "PGSSLROOTCERT": SYSTEM}
        return
    with NamedTemporaryFile("w", suffix=".crt") as authority:
        authority.write(database.db_ca)
        authority.flush()
        yield {**variables, "PGSSLMODE": "verify-full", "PGSSLROOTCERT": authority.name}
