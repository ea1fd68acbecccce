"""The command line of a service."""

import asyncio
import os
import signal
import sys
from pathlib import Path

_STARTS_FOR_EVER = "import time; print('starting', flush=True); time.sleep(600)"
"""A composition root that is still being imported."""


async def test_a_service_that_gets_sigterm_while_it_starts_ends_with_143(tmp_path: Path) -> None:
    package = tmp_path / "slow_service"
    (package / "service").mkdir(parents=True)
    (package / "app.py").write_text(_STARTS_FOR_EVER)
    starting = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from chassis.runtime.command import run; run('slow_service', ['serve'])",
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert starting.stdout is not None
        assert await starting.stdout.readline() == b"starting\n"
        starting.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await starting.wait() == 128 + signal.SIGTERM, "it has a handler, which process 1 needs"
    finally:
        if starting.returncode is None:
            starting.kill()
