"""Installs a peer's npm project outside of the repository, once for each content of its package.json."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from shop_e2e.bench.targets.local_processes import LocalProcesses

_PEERS = Path(__file__).parents[3] / "bench" / "peers"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ecommerce-bench"
_INSTALLED = ".installed"


async def install(peer: str, logs: Path) -> Path:
    """Returns the folder of the installed project, with the current files of e2e/bench/peers. Raises TargetError."""
    source = _PEERS / peer
    digest = hashlib.sha256((source / "package.json").read_bytes()).hexdigest()[:12]
    folder = _CACHE / f"{peer}-{digest}"
    shutil.copytree(source, folder, dirs_exist_ok=True)
    if not (folder / _INSTALLED).exists():
        npm = LocalProcesses(folder, logs, {})
        await npm.run("npm", "npm", "install", "--no-audit", "--no-fund", "--omit=dev", "--ignore-scripts")
        (folder / _INSTALLED).touch()
    return folder
