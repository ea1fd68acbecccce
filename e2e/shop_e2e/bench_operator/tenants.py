"""Measures many tenants of one plan: created by one `kubectl apply -k`, and a change of the plan, which is paced."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from platform_operator.api.kinds import Manifest
from platform_operator.api.tenants import TENANT, TENANT_PLAN
from platform_operator.client import KubernetesClient
from shop_e2e.bench_operator.control_plane import ControlPlane, retry
from shop_e2e.bench_operator.operator_process import OperatorProcess
from shop_e2e.bench_operator.progress import Progress
from shop_e2e.bench_operator.report import two_columns

PLAN = "bench"
CONCURRENCY = 5
"""The tenants that take a change of the plan at the same time."""
LOOK = 0.5
"""Seconds between two lists of all tenants."""


@dataclass(frozen=True)
class TenantFigures:
    """What one run has measured. Times are seconds, sizes bytes."""

    tenants: int
    machine: str
    applied: float
    """The time of `kubectl apply -k`."""
    ready: float
    """The time from then until all were ready."""
    changed: float
    """The time from the change of the plan until the last tenant had taken it and was ready."""
    most_at_once: int
    """The most tenants that took the change at the same time, of all looks."""
    resident: int
    block: float
    work: float
    """The most processor time in one callback of the event loop."""


async def measure_tenants(
    plane: ControlPlane, folder: Path, charts: Path, tenants: int, say: Callable[[object], None]
) -> TenantFigures:
    """Creates that many tenants on a control plane and changes their plan. Says each step, and how far it has come.

    Raises RuntimeError if the operator ends before.
    """
    operator = OperatorProcess(plane, folder, charts, "1.0", resync=600, tenant_admin_role="bench-tenant-admin")
    samples = _write_samples(folder / "tenants", tenants)
    with operator.running():
        await operator.until_leading()
        applied = await operator.during(asyncio.to_thread(_apply, plane, samples))
        say(f"{tenants} tenants applied in {applied:.1f} s")
        ready, _ = await operator.during(_until_all(plane.client, tenants, _is_ready, say))
        say(f"all ready after {ready:.0f} s")
        plan = await plane.client.apply(TENANT_PLAN, "", _plan("EUR", "USD"), manager="bench")
        newest = plan["metadata"]["generation"]
        changed, most = await operator.during(
            _until_all(
                plane.client,
                tenants,
                lambda one: _has_plan(one, newest) and _is_ready(one),
                say,
                lambda one: _has_plan(one, newest) and not one["status"].get("settled"),
            )
        )
        readings = await operator.read()
    return TenantFigures(
        tenants, f"{os.cpu_count()} processors", applied, ready, changed, most,
        readings.resident, readings.block, readings.work,
    )  # fmt: skip


def tenant_table(figures: TenantFigures) -> str:
    rows = [
        ("tenants", f"{figures.tenants}"),
        ("machine", figures.machine),
        ("`kubectl apply -k` of all", f"{figures.applied:.1f} s"),
        ("from then until all are ready", f"{figures.ready:.0f} s"),
        ("a changed plan until all have it", f"{figures.changed:.0f} s"),
        (f"tenants that took it at once, of {CONCURRENCY}", f"{figures.most_at_once}"),
        ("resident memory", f"{figures.resident / 2**20:.0f} MiB"),
        ("longest block of the event loop", f"{figures.block * 1000:.0f} ms"),
        ("processor time of its longest callback", f"{figures.work * 1000:.0f} ms"),
    ]
    return two_columns(rows)


def _write_samples(folder: Path, tenants: int) -> Path:
    """Writes a kustomization of the plan and its tenants, as a platform team keeps it in Git."""
    folder.mkdir()
    names = [f"tenant-{number}" for number in range(tenants)]
    for name, manifest in {"plan": _plan("EUR"), **{name: _tenant(name) for name in names}}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest))
    resources = ["plan.yaml", *(f"{name}.yaml" for name in names)]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": resources}))
    return folder


def _plan(*currencies: str) -> Manifest:
    """Returns a plan whose shops sell in these currencies: all services read them, so a change replaces all pods."""
    spec = {"concurrency": CONCURRENCY, "defaults": {"settings": {"currencies": [*currencies]}}}
    return {"apiVersion": TENANT_PLAN.api_version, "kind": TENANT_PLAN.kind, "metadata": {"name": PLAN}, "spec": spec}


def _tenant(name: str) -> Manifest:
    spec = {"planRef": {"name": PLAN}, "host": f"{name}.shops.example.com"}
    return {"apiVersion": TENANT.api_version, "kind": TENANT.kind, "metadata": {"name": name}, "spec": spec}


def _apply(plane: ControlPlane, samples: Path) -> float:
    """Returns the seconds that it took."""
    began = time.monotonic()
    command = ["kubectl", "--kubeconfig", str(plane.kubeconfig), "apply", "--kustomize", str(samples)]
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began


async def _until_all(
    client: KubernetesClient,
    tenants: int,
    holds: Callable[[Manifest], bool],
    say: Callable[[object], None],
    counts: Callable[[Manifest], bool] = bool,
) -> tuple[float, int]:
    """Looks at all tenants until a condition holds for so many.

    Returns the seconds, and the most tenants for which `counts` held in one look.
    """
    progress, most = Progress(tenants, say), 0
    while True:
        rows = await retry(lambda: _list(client))
        most = max(most, sum(map(counts, rows)))
        if progress.report(sum(map(holds, rows))):
            return progress.seconds, most
        await asyncio.sleep(LOOK)


async def _list(client: KubernetesClient) -> Sequence[Manifest]:
    return [one async for page, _ in client.pages(TENANT, None) for one in page]


def _is_ready(tenant: Manifest) -> bool:
    return bool(tenant.get("status", {}).get("state") == "Ready")


def _has_plan(tenant: Manifest, generation: int) -> bool:
    return bool(tenant.get("status", {}).get("planGeneration") == generation)
