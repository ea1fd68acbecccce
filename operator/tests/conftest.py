from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def charts() -> Path:
    """The real charts, with their dependencies in place."""
    subprocess.run([ROOT / "charts" / "build"], check=True, capture_output=True)
    return ROOT / "charts"


@pytest.fixture(scope="session")
def helm() -> str:
    """Helm from HELM, PATH or where e2e/cluster/host-tools builds it."""
    cached = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ecommerce-tools" / "helm"
    found = os.environ.get("HELM") or shutil.which("helm") or (str(cached) if cached.exists() else None)
    if found is None:
        pytest.fail("no helm: put it on PATH, or run e2e/cluster/host-tools")
    return found
