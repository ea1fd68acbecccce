"""The bare loop that the operator is compared with: it applies the objects of shops, and decides nothing."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from platform_operator.api.kinds import CHILD_KINDS, LABEL_PART_OF, Manifest, PlatformKey
from platform_operator.api.spec import SERVICES, parse
from platform_operator.plan.inventory import DesiredObject
from platform_operator.render.helm import Helm
from platform_operator.render.renderer import Renderer
from platform_operator.render.values import Installation, chart_values
from platform_operator.secrets.credentials import derived_secrets
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.store_tls import StoreTls, own_stores
from shop_e2e.bench_operator.control_plane import ControlPlane, control_plane, create_namespace, retry

CONCURRENT_APPLIES = 8
"""The number of requests that the operator sends at once."""


@dataclass(frozen=True)
class BareLoop:
    """What the loop has measured. Rates are shops per second."""

    applied: float
    """The rate at which objects are applied, one shop after the other."""
    ready: float
    """The rate until all Deployments are available."""
    objects: int
    """The objects of one shop."""


async def measure_bare_loop(charts: Path, version: str, shops: int) -> BareLoop:
    """Applies the objects of that many shops on a control plane of its own, which ends with it."""
    with tempfile.TemporaryDirectory(prefix="bench-operator-") as name:
        async with control_plane(Path(name), shops) as plane:
            return await _apply(plane, charts, version, shops)


async def _apply(plane: ControlPlane, charts: Path, version: str, shops: int) -> BareLoop:
    renderer = Renderer(Helm(executable="helm"), charts / "platform")
    keys = [PlatformKey(f"bare-{number}", "shop") for number in range(shops)]
    rendered = [await _objects(renderer, key, version) for key in keys]
    slots = asyncio.Semaphore(CONCURRENT_APPLIES)

    async def apply(namespace: str, manifest: Manifest) -> None:
        async with slots:
            await retry(lambda: plane.client.apply(CHILD_KINDS[manifest["kind"]], namespace, manifest))

    began = time.monotonic()
    for key, objects in zip(keys, rendered, strict=True):
        await create_namespace(plane.client, key.namespace)
        await asyncio.gather(*(apply(key.namespace, _without_owner(one)) for one in objects))
    applied = time.monotonic() - began
    await _until_available(plane, shops * len(SERVICES))
    return BareLoop(shops / applied, shops / (time.monotonic() - began), len(rendered[0]))


async def _objects(renderer: Renderer, key: PlatformKey, version: str) -> Sequence[DesiredObject]:
    spec = parse({})
    values = chart_values(key, spec, Installation(version), "small")
    tls = StoreTls(frozenset(own_stores(spec)), "", datetime.now(UTC))
    rendered = await renderer.render(key, "bare", values)
    return [*derived_secrets(key, spec, KeyRing(MasterKey(os.urandom(32))), tls).values(), *rendered]


def _without_owner(one: DesiredObject) -> Manifest:
    """Returns a manifest without an owner, and without the label by which the operator would find it."""
    manifest = one.manifest
    manifest["metadata"].pop("ownerReferences", None)
    manifest["metadata"]["labels"][LABEL_PART_OF] = "bench"
    return manifest


async def _until_available(plane: ControlPlane, deployments: int) -> None:
    while True:
        available = 0
        async for page, _ in plane.client.pages(CHILD_KINDS["Deployment"], None):
            available += sum(_is_available(one) for one in page)
        if available >= deployments:
            return
        await asyncio.sleep(1)


def _is_available(deployment: Manifest) -> bool:
    status = deployment.get("status") or {}
    return bool(status.get("availableReplicas", 0) >= deployment["spec"].get("replicas", 1))
