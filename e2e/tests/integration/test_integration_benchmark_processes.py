"""The processes of the benchmark's targets."""

import os
from pathlib import Path

import pytest
from chassis_testing.waiting import eventually
from shop_e2e.bench.targets.local_processes import LocalProcesses


async def test_a_target_that_stops_leaves_no_process_of_its_launcher(tmp_path: Path) -> None:
    target = LocalProcesses(tmp_path, tmp_path, {})
    await target.start("launcher", "sh", "-c", "sleep 600 & echo $! > started.tmp; mv started.tmp started; wait")
    started = tmp_path / "started"

    async def is_started() -> bool:
        return started.exists()

    await eventually(is_started)

    await target.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
