"""What befalls the test servers themselves; see e2e/cluster/test-env."""

import asyncio

import asyncpg

_POSTGRES, _RABBITMQ = "ecommerce-test-postgres", "ecommerce-test-rabbitmq"


async def crash_database(dsn: str) -> None:
    """PostgreSQL finds one of its processes dead, ends all others, and recovers from its log, as after a crash of the server."""
    connection = await asyncpg.connect(dsn)
    await _run("docker", "exec", _POSTGRES, "bash", "-c", f"kill -9 {connection.get_server_pid()}")
    connection.terminate()


async def restart_broker() -> None:
    """RabbitMQ stops, with all its connections, and starts again with what it had stored."""
    for verb in ("stop_app", "start_app"):
        await _run("docker", "exec", _RABBITMQ, "rabbitmqctl", "--quiet", verb)


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {output.decode()}")
