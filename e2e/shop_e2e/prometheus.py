"""Prometheus as tests use it: promtool and a server, both from the image of charts/monitoring."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from shop_e2e.metrics import ROOT

OBSERVABILITY = ROOT / "manifests/observability"
_MOUNTED = "/observability"


def image() -> str:
    """The image that the chart runs; `e2e/cluster/store-images` brings it."""
    return str(yaml.safe_load((ROOT / "charts/monitoring/values.yaml").read_text())["image"])


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs promtool; paths below manifests/observability are those of this machine. Does not check the outcome."""
    inside = [str(argument).replace(str(OBSERVABILITY), _MOUNTED) for argument in arguments]
    command = ["docker", "run", "--rm", "--network", "none", "--volume", f"{OBSERVABILITY}:{_MOUNTED}:ro"]
    return subprocess.run(
        [*command, "--entrypoint", "promtool", image(), *inside], check=False, capture_output=True, text=True
    )


def rules() -> list[dict[str, Any]]:
    """Every alert and recording rule, as its file has it."""
    files = [yaml.safe_load(path.read_text()) for path in sorted((OBSERVABILITY / "rules").glob("*.yaml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]
