from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def charts() -> Path:
    """The real charts, with their dependencies in place."""
    subprocess.run([ROOT / "charts" / "build"], check=True, capture_output=True)
    return ROOT / "charts"


@pytest.fixture(scope="session")
def helm(find_tool: Callable[[str], str]) -> str:
    """The path of Helm."""
    return find_tool("helm")
