"""What the operator relies on in server-side apply, shown on every object of the real charts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from platform_operator.api.kinds import CHILDREN, LABEL_COMPONENT, PLATFORM, Key, Manifest
from platform_operator.api.spec import parse
from platform_operator.apply.applier import HANDOVER
from platform_operator.cache.observed import observe
from platform_operator.client import Api
from platform_operator.render.renderer import Helm, Rendered, Renderer
from platform_operator.render.values import Installation, values
from platform_operator.secrets.credentials import Keyring, credentials

pytestmark = pytest.mark.cluster


@pytest.fixture
async def shop(api: Api, namespace: str, charts: Path, helm: str) -> list[Rendered]:
    """Every object of a shop that scales by itself, owned by a paused platform, so that no operator minds it."""
    key, spec = Key(namespace, "shop"), parse({"profile": "medium"})
    manifest = {
        "apiVersion": PLATFORM.api_version,
        "kind": PLATFORM.kind,
        "metadata": {"name": "shop"},
        "spec": {"paused": True},
    }
    uid = (await api.create(PLATFORM, namespace, manifest))["metadata"]["uid"]
    chart_values = values(key, spec, Installation("1.0"), "medium")
    renderer = Renderer(Helm(executable=helm), charts / "platform")
    secrets = credentials(key, uid, spec, Keyring(b"k" * 32), {})
    return [*secrets, *await renderer.render(key, uid, chart_values)]


async def apply(api: Api, namespace: str, one: Rendered) -> Manifest:
    return await api.apply(CHILDREN[one.id.kind], namespace, one.manifest)


async def test_applying_again_changes_nothing(api: Api, namespace: str, shop: list[Rendered]) -> None:
    for one in shop:
        first, second = await apply(api, namespace, one), await apply(api, namespace, one)
        assert observe(first).owned == observe(second).owned != ""
        if one.id.kind not in _CONTROLLED:
            assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"], one.id


_CONTROLLED = ("Deployment", "StatefulSet", "Job", "HorizontalPodAutoscaler", "PodDisruptionBudget")
"""Their controllers write status meanwhile."""


async def test_whoever_changes_a_field_is_noticed(api: Api, namespace: str, shop: list[Rendered]) -> None:
    for one in shop:
        applied = await apply(api, namespace, one)
        metadata = {"name": one.id.name, "labels": {LABEL_COMPONENT: "changed"}}
        patch = {"apiVersion": applied["apiVersion"], "kind": one.id.kind, "metadata": metadata}
        changed = await api.apply(CHILDREN[one.id.kind], namespace, patch, manager="somebody")
        assert observe(changed).owned != observe(applied).owned, one.id
        restored = await apply(api, namespace, one)
        assert observe(restored).owned == observe(applied).owned, one.id


async def test_controllers_do_not_look_like_drift(api: Api, namespace: str, shop: list[Rendered]) -> None:
    applied = {one.id: observe(await apply(api, namespace, one)).owned for one in shop}
    await asyncio.sleep(3)  # time for the controllers of Deployments, Jobs, budgets and autoscalers to write
    for one in shop:
        stored = await api.get(CHILDREN[one.id.kind], namespace, one.id.name)
        assert stored is not None
        assert observe(stored).owned == applied[one.id], one.id


async def test_replicas_survive_the_handover_to_an_autoscaler(api: Api, namespace: str, shop: list[Rendered]) -> None:
    deployment = next(one for one in shop if one.id.name == "shop-order" and one.id.kind == "Deployment")
    kind, manifest = CHILDREN["Deployment"], deployment.manifest
    fixed = manifest | {"spec": manifest["spec"] | {"replicas": 3}}
    await api.apply(kind, namespace, fixed)
    await api.apply(kind, namespace, replicas(manifest, 3), manager=HANDOVER)
    handed_over = await api.apply(kind, namespace, manifest)
    assert handed_over["spec"]["replicas"] == 3


def replicas(manifest: Manifest, count: int) -> dict[str, Any]:
    metadata = {"name": manifest["metadata"]["name"]}
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": metadata,
        "spec": {"replicas": count},
    }
