"""Measures the operator with a fleet of shops: created, restarted, resynced, changed one by one, and upgraded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platform_operator.api.kinds import CHILD_KINDS, LEASE, PLATFORM, Manifest
from platform_operator.client import KubernetesClient
from shop_e2e.bench_operator.control_plane import ControlPlane, create, create_namespace, retry
from shop_e2e.bench_operator.operator_process import OperatorProcess
from shop_e2e.bench_operator.progress import Progress

RELEASE, NEXT_RELEASE = "1.0", "2.0"
LOOK = 1.0
"""Seconds between two lists of all shops."""


@dataclass(frozen=True)
class Options:
    """What is measured. Times are seconds."""

    shops: int
    changes: int
    resync: int
    upgrade: bool
    timeout: float


@dataclass(frozen=True)
class Creation:
    """The creation of all shops, until they are ready. `rate` is in shops per second, the others are for one shop."""

    rate: float
    processor: float
    """Seconds."""
    requests: float
    passes: float


@dataclass(frozen=True)
class Resync:
    """One resync of all shops in which nothing changes. Requests and bytes are for one shop, writes for all."""

    seconds: int
    lists: float
    watches: float
    bytes: float
    writes: int
    processor: float
    """Seconds for one shop."""


@dataclass(frozen=True)
class FleetUpgrade:
    """The upgrade of all shops by a new release of the operator."""

    seconds: float
    most_at_once: int
    """The most shops between two releases, of all looks."""
    most_before_first: int
    """The most of them while no shop had completed its upgrade: the canary."""
    processor: float
    """Seconds for one shop."""


@dataclass(frozen=True)
class Fleet:
    """What one run has measured of the operator. Times are seconds, sizes bytes."""

    creation: Creation
    restart: float
    restart_writes: int
    resync: Resync
    latencies: Sequence[float]
    """The seconds of each change, in ascending order."""
    upgrade: FleetUpgrade | None
    resident: int
    block: float
    work: float
    """The most processor time in one callback of the event loop."""
    leader_kept: bool
    own_block: float | None = None
    """The longest block without the time in which no processor was free. None in a run before it was measured."""


async def measure_fleet(
    plane: ControlPlane, folder: Path, charts: Path, options: Options, say: Callable[[object], None]
) -> Fleet:
    """Creates that many shops on a control plane, and measures one thing after the other.

    Says each result, and how many shops are done.
    """
    client, shops = plane.client, options.shops
    operator = OperatorProcess(plane, folder, charts, RELEASE, options.resync)
    with operator.running():
        await operator.until_leading()
        creation = await operator.during(_create(client, operator, options, say))
        created = await operator.read()
        say(creation)
        say(f"requests: {created.counts()}")
        await operator.until_quiet()
    with operator.running():
        began = time.monotonic()
        await operator.until_leading()
        await operator.until(lambda readings: readings.passes >= shops and readings.queued == 0)
        restart, restarted = time.monotonic() - began, await operator.read()
        say(f"restarted, in sync after {restart:.1f} s")
        resync = await operator.during(_resync(operator, options))
        say(resync)
        latencies = await operator.during(_change_shops(client, options))
        changed = await operator.read()
    lease = await client.get(LEASE, "ecommerce-system", "ecommerce-operator")
    transitions = lease["spec"]["leaseTransitions"] if lease else 0
    readings = [created, restarted, changed]
    upgrade = None
    if options.upgrade:
        operator = OperatorProcess(plane, folder, charts, NEXT_RELEASE, options.resync)
        with operator.running():
            await operator.until_leading()
            upgrade = await operator.during(_upgrade(client, operator, options, say))
            readings.append(await operator.read())
            say(upgrade)
    return Fleet(
        creation, restart, restarted.writes, resync, sorted(latencies), upgrade,
        resident=max(one.resident for one in readings), block=max(one.block for one in readings),
        work=max(one.work for one in readings), leader_kept=transitions == 2,
        own_block=max(one.own_block for one in readings),
    )  # fmt: skip


async def _create(
    client: KubernetesClient, operator: OperatorProcess, options: Options, say: Callable[[object], None]
) -> Creation:
    before, progress = await operator.read(), Progress(options.shops, say)
    for number in range(options.shops):
        await create_namespace(client, f"shop-{number}")
        await create(client, PLATFORM, f"shop-{number}", _shop({"upgrade": {"observeSeconds": 0}}))
    async with asyncio.timeout(options.timeout):
        while True:
            if progress.report(sum(map(_is_ready, await _list(client)))):
                break
            await asyncio.sleep(LOOK)
    took, after = progress.seconds, await operator.read()
    return Creation(
        options.shops / took,
        (after.processor - before.processor) / options.shops,
        (after.total - before.total) / options.shops,
        (after.passes - before.passes) / options.shops,
    )


async def _resync(operator: OperatorProcess, options: Options) -> Resync:
    """Measures the second interval of a process: in the first one, what the restart has woken may still go on."""
    await asyncio.sleep(options.resync)
    before = await operator.read()
    await asyncio.sleep(options.resync)
    after = await operator.read()
    lists, watches = (after.sent(verb) - before.sent(verb) for verb in ("GET", "WATCH"))
    return Resync(
        options.resync, lists / options.shops, watches / options.shops, (after.bytes - before.bytes) / options.shops,
        after.writes - before.writes, (after.processor - before.processor) / options.shops,
    )  # fmt: skip


async def _change_shops(client: KubernetesClient, options: Options) -> list[float]:
    return [await _change(client, number % options.shops, number) for number in range(options.changes)]


async def _change(client: KubernetesClient, shop: int, number: int) -> float:
    """Changes a setting of one shop. Returns the seconds until its Deployment has it."""
    namespace, value = f"shop-{shop}", str(number)
    changed = _shop({"services": {"order": {"env": {"BENCH_NOTE": value}}}})
    began = time.monotonic()
    await retry(lambda: client.apply(PLATFORM, namespace, changed, manager="bench"))
    while True:
        deployment = await retry(lambda: client.get(CHILD_KINDS["Deployment"], namespace, "shop-order"))
        env = deployment["spec"]["template"]["spec"]["containers"][0]["env"] if deployment else []
        if any(one["name"] == "BENCH_NOTE" and one.get("value") == value for one in env):
            return time.monotonic() - began
        await asyncio.sleep(0.02)


async def _upgrade(
    client: KubernetesClient, operator: OperatorProcess, options: Options, say: Callable[[object], None]
) -> FleetUpgrade:
    before, progress = await operator.read(), Progress(options.shops, say)
    most_at_once = most_before_first = 0
    async with asyncio.timeout(options.timeout):
        while True:
            statuses = [one["status"] for one in await _list(client)]
            complete = sum(one.get("version") == NEXT_RELEASE for one in statuses)
            at_once = sum(_is_between_releases(one) for one in statuses)
            most_at_once = max(most_at_once, at_once)
            most_before_first = max(most_before_first, 0 if complete else at_once)
            if progress.report(complete):
                break
            await asyncio.sleep(LOOK)
    took, after = progress.seconds, await operator.read()
    return FleetUpgrade(took, most_at_once, most_before_first, (after.processor - before.processor) / options.shops)


def _is_between_releases(status: Mapping[str, Any]) -> bool:
    return status.get("targetVersion") == NEXT_RELEASE != status.get("version")


def _shop(spec: Manifest) -> Manifest:
    return {"apiVersion": PLATFORM.api_version, "kind": PLATFORM.kind, "metadata": {"name": "shop"}, "spec": spec}


async def _list(client: KubernetesClient) -> Sequence[Manifest]:
    async def read() -> Sequence[Manifest]:
        return [one async for page, _ in client.pages(PLATFORM, None) for one in page]

    return await retry(read)


def _is_ready(platform: Manifest) -> bool:
    conditions = platform.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
