"""Injects faults into the test servers, which are containers; see hack/compose/test-env."""

import asyncio
import contextlib
from urllib.parse import urlsplit

import asyncpg
from chassis_testing.waiting import eventually


async def crash_database(dsn: str) -> None:
    """Crashes PostgreSQL: one of its processes is killed, it ends all others and recovers from its write-ahead log.

    Returns once it has recovered. Raises TimeoutError after two minutes.
    """
    connection = await asyncpg.connect(dsn)
    try:
        with contextlib.suppress(asyncpg.ConnectionDoesNotExistError):
            await connection.execute(f"COPY (SELECT 1) TO PROGRAM 'kill -9 {connection.get_server_pid()}'")
            raise LookupError("the database process survived SIGKILL")
    finally:
        connection.terminate()
    await eventually(lambda: _accepts_connections(dsn), within=120)


async def _accepts_connections(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    await connection.close()
    return True


async def restart_broker(url: str) -> None:
    """Restarts RabbitMQ: all connections end, and it starts again with what it had stored."""
    container = (await _run("docker", "ps", "--quiet", "--filter", f"publish={urlsplit(url).port}")).strip()
    for verb in ("stop_app", "start_app"):
        await _run("docker", "exec", container, "rabbitmqctl", "--quiet", verb)


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {output.decode()}")
    return output.decode()
