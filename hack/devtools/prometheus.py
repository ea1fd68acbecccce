"""Prometheus for tests: promtool and a server, both from the image of charts/monitoring."""

import asyncio
import contextlib
import json
import re
import subprocess
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from chassis_testing.waiting import eventually

from devtools.metrics_reference import ROOT

OBSERVABILITY = ROOT / "manifests/observability"
_MOUNTED = "/observability"
_VOLUME = ("--volume", f"{OBSERVABILITY}:{_MOUNTED}:ro")


def image() -> str:
    """Returns the image that the chart runs; `hack/images/store-images` builds or pulls it."""
    return str(yaml.safe_load((ROOT / "charts/monitoring/values.yaml").read_text())["image"])


def promtool(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs promtool on paths of this machine below manifests/observability. The caller checks the exit status."""
    inside = [str(argument).replace(str(OBSERVABILITY), _MOUNTED) for argument in arguments]
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", *_VOLUME, "--entrypoint", "promtool"]
    return subprocess.run([*command, image(), *inside], input=stdin, check=False, capture_output=True, text=True)


def rules() -> list[dict[str, Any]]:
    """Returns every alert and recording rule of the rule files."""
    files = [yaml.safe_load(path.read_text()) for path in sorted((OBSERVABILITY / "rules").glob("*.yaml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


@dataclass(frozen=True, slots=True)
class Target:
    """A scrape target: its address, and its labels as charts/monitoring sets them."""

    address: str
    component: str
    path: str = "/metrics"
    parameters: Mapping[str, Sequence[str]] | None = None


class Prometheus:
    """A client of a Prometheus server. `url` has no path."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.AsyncClient(base_url=f"{url.rstrip('/')}/api/v1", timeout=30)

    async def __aenter__(self) -> "Prometheus":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def now(self, query: str) -> list[dict[str, Any]]:
        """Returns the current series of a query, each with `metric` and `value`. Raises httpx.HTTPStatusError."""
        return await self._ask("/query", {"query": query})

    async def over(self, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Returns the series of a query between two times in seconds since the epoch, each with `metric` and `values`.
        Raises httpx.HTTPStatusError.
        """
        return await self._ask("/query_range", {"query": query, "start": start, "end": end, "step": step})

    async def scrape_seconds(self) -> float:
        """Returns the longest scrape interval of all targets. Raises httpx.HTTPError."""
        answer = (await self._http.get("/targets", params={"state": "active"})).raise_for_status()
        return max(_seconds(target["scrapeInterval"]) for target in answer.json()["data"]["activeTargets"])

    async def is_scraping(self) -> bool:
        """Returns whether every target has been scraped."""
        try:
            seen = await self.now("up")
        except httpx.HTTPError:  # not listening yet, or still reading what it has stored
            return False
        return bool(seen) and all(series["value"][1] == "1" for series in seen)

    async def _ask(self, path: str, parameters: Mapping[str, str | float]) -> list[dict[str, Any]]:
        answer = (await self._http.post(path, data=parameters)).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found


def _seconds(duration: str) -> float:
    """Parses a duration of Prometheus: 15s, 1m0s."""
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)(ms|[hms])", duration))


@contextlib.asynccontextmanager
async def watching(targets: Sequence[Target], shop: str, port: int, folder: Path) -> AsyncIterator[Prometheus]:
    """Runs a Prometheus with the shop's rules on this machine until the block ends; every target has been scraped once.
    `folder` gets its configuration.
    """
    configuration = folder / "prometheus.yml"
    configuration.write_text(json.dumps(_configuration(targets, shop)))  # which is YAML too
    name = f"ecommerce-test-prometheus-{uuid.uuid4().hex[:8]}"
    settings = ["--config.file=/prometheus.yml", "--storage.tsdb.path=/data", f"--web.listen-address=127.0.0.1:{port}"]
    volumes = [*_VOLUME, "--volume", f"{configuration}:/prometheus.yml:ro", "--tmpfs", "/data:uid=65534,gid=65534"]
    command = ["run", "--detach", "--rm", "--name", name, "--network", "host", *volumes, image(), *settings]
    await _docker(*command)
    try:
        async with Prometheus(f"http://127.0.0.1:{port}") as started:
            await eventually(started.is_scraping, 60)
            yield started
    finally:
        await _docker("rm", "--force", "--volumes", name)


async def _docker(*arguments: str) -> None:
    await asyncio.to_thread(subprocess.run, ["docker", *arguments], check=True, capture_output=True)


def _configuration(targets: Sequence[Target], shop: str) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{_MOUNTED}/rules/*.yaml"],
        "scrape_configs": [
            {
                "job_name": f"{target.component}{target.path}",
                "metrics_path": target.path,
                "params": target.parameters or {},
                "honor_labels": True,
                "static_configs": [{"targets": [target.address], "labels": _labels(target, shop)}],
            }
            for target in targets
        ],
    }


def _labels(target: Target, shop: str) -> dict[str, str]:
    return {"namespace": shop, "platform": shop, "component": target.component}
