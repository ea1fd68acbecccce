"""A PostgreSQL server for a verification, in a folder and behind a socket there, which is removed with all it has."""

import fcntl
import os
import pwd
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from chassis.observability import logs
from chassis.settings import DatabaseSettings

from platform_backup.errors import DatabaseFailed, ScratchServerFailed
from platform_backup.postgres_tools import PostgresTools

_USER = "verify"
_INITDB = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", f"--username={_USER}"]
_START_SECONDS, _STOP_SECONDS = 120, 60
_CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{folder}'
unix_socket_permissions = 0700
max_connections = 20
shared_buffers = 32MB
maintenance_work_mem = 64MB
dynamic_shared_memory_type = mmap
max_parallel_workers = 0
autovacuum = off
jit = off
fsync = off
full_page_writes = off
synchronous_commit = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = 128MB
"""
"""What it has is thrown away, so nothing waits for a disk. A folder of a pod is small, so there is little WAL."""

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ScratchServer:
    """A server that uses a part of a folder while it runs. What a killed one left there is removed by the next."""

    tools: PostgresTools
    parent: Path

    @asynccontextmanager
    async def run(self) -> AsyncIterator[DatabaseSettings]:
        """Gives the login of its superuser until the block ends. Raises ScratchServerFailed."""
        with self._locked():
            await self._remove()
            try:
                yield await self._start()
            finally:
                await self._remove()

    @property
    def _folder(self) -> Path:
        return self.parent / "verify"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the folder until the block ends. A process that is killed lets it go."""
        try:
            lock = (self.parent / "verify.lock").open("w")
        except OSError as error:
            raise ScratchServerFailed(f"the folder {self.parent} is not writable: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ScratchServerFailed(
                    f"another verification uses {self.parent}: wait for its end, or set BACKUP_SCRATCH"
                ) from None
            yield

    async def _start(self) -> DatabaseSettings:
        try:
            self._folder.mkdir(mode=0o700)
            await self._run("initdb", *_INITDB, variables=self._name_user())
            folder = str(self._folder).replace("'", "''")
            with (self._data / "postgresql.conf").open("a") as configuration:
                configuration.write(_CONFIGURATION.format(folder=folder))
            await self._run("pg_ctl", "start", "--wait", f"--timeout={_START_SECONDS}", f"--log={self._log}")
        except (DatabaseFailed, OSError) as error:
            raise ScratchServerFailed(
                f"the server into which the backup is restored does not start: {error}{self._last_line()}"
            ) from error
        return DatabaseSettings(db_host=str(self._folder), db_user=_USER, db_password="", db_name="postgres")

    async def _remove(self) -> None:
        """Ends the server, also one that a killed verification left, and removes the folder."""
        if not self._folder.exists():
            return
        if (self._data / "postmaster.pid").exists():
            with suppress(DatabaseFailed):  # it has ended already
                await self._run("pg_ctl", "stop", "--mode=immediate", "--wait", f"--timeout={_STOP_SECONDS}")
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _run(self, program: str, *arguments: str, variables: Mapping[str, str] = MappingProxyType({})) -> None:
        async with self.tools.run(program, [*arguments, f"--pgdata={self._data}"], variables=variables) as running:
            async for _ in running.output():
                pass

    def _name_user(self) -> dict[str, str]:
        """Gives the user id a name if it has none, as where a cluster assigns ids: initdb requires one."""
        with suppress(KeyError):
            pwd.getpwuid(os.geteuid())
            return {}
        users = self._folder / "passwd"
        users.write_text(f"verify:x:{os.geteuid()}:{os.getegid()}::/tmp:/bin/false\n")
        return {"LD_PRELOAD": "libnss_wrapper.so", "NSS_WRAPPER_PASSWD": str(users), "NSS_WRAPPER_GROUP": "/etc/group"}

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _last_line(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return f" ({lines[-1]})" if lines else ""
