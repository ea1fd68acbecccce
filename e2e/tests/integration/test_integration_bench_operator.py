"""The benchmark of the operator says that the operator has ended, rather than to wait for what never comes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from shop_e2e.bench_operator.control_plane import ControlPlane
from shop_e2e.bench_operator.operator_process import OperatorProcess


async def test_work_fails_when_the_operator_has_ended(tmp_path: Path) -> None:
    no_client: Any = None
    plane = ControlPlane("https://127.0.0.1:1", tmp_path / "kubeconfig", no_client)
    operator = OperatorProcess(plane, tmp_path, charts=tmp_path, version="", resync=1)
    with operator.running(), pytest.raises(RuntimeError, match="the operator has ended"):
        await operator.during(asyncio.Event().wait())
