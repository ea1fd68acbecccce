"""Measures the operator with many shops: `python -m shop_e2e.bench_operator`, or `make bench-operator`.

The API server, its controllers and its scheduler are real; nodes, pods and volumes are simulated (kwok). The figures
have no thresholds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from platform_operator.api.kinds import CHILD_KINDS, LABEL_PART_OF, LEASE, PLATFORM, Manifest, PlatformKey
from platform_operator.api.spec import parse
from platform_operator.client import KubernetesClient
from platform_operator.plan.inventory import DesiredObject
from platform_operator.render.helm import Helm
from platform_operator.render.renderer import Renderer
from platform_operator.render.values import Installation, chart_values
from platform_operator.secrets.credentials import credentials
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.store_tls import StoreTls, own_stores
from shop_e2e.bench_operator.control_plane import NAMESPACE, ControlPlane, control_plane
from shop_e2e.bench_operator.operator_process import OperatorProcess, Readings
from shop_e2e.bench_operator.report import Figures, table, write
from shop_e2e.bench_operator.tenants import TenantFigures, measure_tenants, tenant_table

ROOT = Path(__file__).resolve().parents[3]
VERSION = "1.0"
CONCURRENT_APPLIES = 8
"""The number of requests that the operator sends at once."""
WRITES = ("PATCH", "PUT", "POST", "DELETE")


@dataclass(frozen=True)
class Options:
    """What is measured. Times are seconds."""

    shops: int
    changes: int
    resync: int
    timeout: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shops", type=int, default=100, help="shops [%(default)s]")
    parser.add_argument("--tenants", type=int, default=0, help="measure so many tenants of one plan instead of shops")
    parser.add_argument("--quick", action="store_true", help="5 changes and a resync in 30 s, not 100 and 120 s")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds, of tenants for all [%(default)s]")
    parser.add_argument("--write", action="store_true", help="write the table into docs/measurements.md")
    parsed = parser.parse_args()
    if parsed.tenants:
        print(tenant_table(asyncio.run(_measure_tenants(parsed.tenants, parsed.timeout))))
        return 0
    changes, resync = (5, 30) if parsed.quick else (100, 120)
    figures = asyncio.run(measure(Options(parsed.shops, changes, resync, parsed.timeout)))
    print(table(figures))
    if parsed.write:
        write(ROOT / "docs/measurements.md", figures)
    return 0


async def _measure_tenants(tenants: int, seconds: float) -> TenantFigures:
    with tempfile.TemporaryDirectory(prefix="bench-operator-") as name:
        async with control_plane(Path(name), tenants) as plane, asyncio.timeout(seconds):
            return await measure_tenants(plane, Path(name), ROOT / "charts", tenants)


async def measure(options: Options) -> Figures:
    with tempfile.TemporaryDirectory(prefix="bench-operator-") as name:
        async with control_plane(Path(name), options.shops) as plane:
            bare = await _apply_bare(plane.client, options.shops)
            say(f"bare loop: {options.shops} shops in {bare:.1f} s")
            return await _measure_operator(plane, Path(name), options, bare)


async def _apply_bare(client: KubernetesClient, shops: int) -> float:
    """Applies the objects of that many shops, one shop after the other. Returns the seconds."""
    renderer = Renderer(Helm(executable="helm"), ROOT / "charts/platform")
    keys = [PlatformKey(f"bare-{number}", "shop") for number in range(shops)]
    rendered = [await _objects(renderer, key) for key in keys]
    slots = asyncio.Semaphore(CONCURRENT_APPLIES)

    async def apply(namespace: str, manifest: Manifest) -> None:
        async with slots:
            await client.apply(CHILD_KINDS[manifest["kind"]], namespace, manifest)

    began = time.monotonic()
    for key, objects in zip(keys, rendered, strict=True):
        await _create_namespace(client, key.namespace)
        await asyncio.gather(*(apply(key.namespace, _without_owner(one)) for one in objects))
    took = time.monotonic() - began
    for key in keys:
        stored = await client.get(NAMESPACE, "", key.namespace)
        await client.delete(NAMESPACE, "", key.namespace, stored["metadata"]["uid"] if stored else "")
    return took


async def _objects(renderer: Renderer, key: PlatformKey) -> Sequence[DesiredObject]:
    spec = parse({})
    values = chart_values(key, spec, Installation(VERSION), "small")
    tls = StoreTls(frozenset(own_stores(spec)), "", datetime.now(UTC))
    rendered = await renderer.render(key, "bare", values)
    return [*credentials(key, spec, KeyRing(MasterKey(os.urandom(32))), {}, tls), *rendered]


def _without_owner(one: DesiredObject) -> Manifest:
    """Returns a manifest without an owner, and without the label by which the operator would find it."""
    manifest = one.manifest
    manifest["metadata"].pop("ownerReferences", None)
    manifest["metadata"]["labels"][LABEL_PART_OF] = "bench"
    return manifest


async def _create_namespace(client: KubernetesClient, name: str) -> None:
    await client.create(NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


async def _measure_operator(plane: ControlPlane, folder: Path, options: Options, bare: float) -> Figures:
    client, shops = plane.client, options.shops
    operator = OperatorProcess(plane, folder, ROOT / "charts", VERSION, options.resync)
    with operator.running():
        await operator.until_leading()
        began = time.monotonic()
        for number in range(shops):
            await _create_namespace(client, f"shop-{number}")
            await client.create(PLATFORM, f"shop-{number}", _shop({}))
        async with asyncio.timeout(options.timeout):
            await _until_ready(client, shops)
        created, first = time.monotonic() - began, await operator.read()
        say(f"created and ready: {created:.1f} s")
    with operator.running():
        began = time.monotonic()
        await operator.until_leading()
        await operator.until(lambda readings: readings.passes >= shops and readings.queued == 0)
        restart, restarted = time.monotonic() - began, await operator.read()
        say(f"restart to in sync: {restart:.1f} s")
        await asyncio.sleep(options.resync)
        before = await operator.read()
        await asyncio.sleep(options.resync)
        after = await operator.read()
        say("steady resync measured")
        latencies = [await _change(client, number % shops, number) for number in range(options.changes)]
        last = await operator.read()
    lease = await client.get(LEASE, "ecommerce-system", "ecommerce-operator")
    transitions = lease["spec"]["leaseTransitions"] if lease else 0
    return Figures(
        shops=shops, machine=f"{os.cpu_count()} processors, {platform.machine()}", resync=options.resync,
        bare=shops / bare, created=shops / created, restart=restart, restart_writes=_writes(restarted),
        requests=(after.total - before.total) / shops, bytes=(after.bytes - before.bytes) / shops,
        writes=_writes(after) - _writes(before), latencies=sorted(latencies),
        resident=max(first.resident, last.resident), block=max(first.block, last.block),
        work=max(first.work, last.work),
        leader_kept=transitions == 2,
    )  # fmt: skip


def _writes(readings: Readings) -> int:
    return int(sum(readings.requests.get(verb, 0) for verb in WRITES))


def _shop(env: dict[str, str]) -> Manifest:
    spec = {"services": {"order": {"env": env}}} if env else {}
    return {"apiVersion": PLATFORM.api_version, "kind": PLATFORM.kind, "metadata": {"name": "shop"}, "spec": spec}


async def _until_ready(client: KubernetesClient, shops: int) -> None:
    while True:
        ready = 0
        async for page, _ in client.pages(PLATFORM, None):
            ready += sum(_is_ready(one) for one in page)
        if ready == shops:
            return
        await asyncio.sleep(0.5)


def _is_ready(platform: Manifest) -> bool:
    conditions = platform.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def _change(client: KubernetesClient, shop: int, number: int) -> float:
    """Changes a setting of one shop. Returns the seconds until its Deployment has it."""
    namespace, value = f"shop-{shop}", str(number)
    began = time.monotonic()
    await client.apply(PLATFORM, namespace, _shop({"BENCH_NOTE": value}), manager="bench")
    while True:
        deployment = await client.get(CHILD_KINDS["Deployment"], namespace, "shop-order")
        env = deployment["spec"]["template"]["spec"]["containers"][0]["env"] if deployment else []
        if any(one["name"] == "BENCH_NOTE" and one.get("value") == value for one in env):
            return time.monotonic() - began
        await asyncio.sleep(0.02)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
