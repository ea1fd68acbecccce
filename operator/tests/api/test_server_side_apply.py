"""The properties of server-side apply that the operator relies on, with every object of the real charts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from platform_operator.api.kinds import CHILD_KINDS, HANDOVER_MANAGER, LABEL_COMPONENT, PLATFORM, Manifest, PlatformKey
from platform_operator.api.spec import parse
from platform_operator.cache.observed import observe
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.plan.comparison import compare
from platform_operator.plan.inventory import DesiredObject, Inventory
from platform_operator.render.helm import Helm
from platform_operator.render.renderer import Renderer
from platform_operator.render.values import Installation, chart_values
from platform_operator.secrets.credentials import derived_secrets
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.store_tls import StoreTls, own_stores

pytestmark = pytest.mark.cluster


@pytest.fixture
async def shop(client: KubernetesClient, namespace: str, charts: Path, helm: str) -> list[DesiredObject]:
    """Every object of a shop with autoscaling, owned by a paused platform, so that no operator reconciles it."""
    key, spec = PlatformKey(namespace, "shop"), parse({"profile": "medium"})
    manifest = {
        "apiVersion": PLATFORM.api_version,
        "kind": PLATFORM.kind,
        "metadata": {"name": "shop"},
        "spec": {"paused": True},
    }
    uid = (await client.create(PLATFORM, namespace, manifest))["metadata"]["uid"]
    values = chart_values(key, spec, Installation("1.0"), "medium")
    renderer = Renderer(Helm(executable=helm), charts / "platform")
    tls = StoreTls(frozenset(own_stores(spec)), "", datetime.now(UTC))
    secrets = derived_secrets(key, spec, KeyRing(MasterKey(b"k" * 32)), tls).values()
    return [*secrets, *await renderer.render(key, uid, values)]


async def apply(client: KubernetesClient, namespace: str, one: DesiredObject) -> Manifest:
    return await client.apply(CHILD_KINDS[one.id.kind], namespace, one.manifest)


async def test_applying_the_same_object_again_changes_nothing(
    client: KubernetesClient, namespace: str, shop: list[DesiredObject]
) -> None:
    for one in shop:
        first, second = await apply(client, namespace, one), await apply(client, namespace, one)
        assert observe(first).owned_digest == observe(second).owned_digest != ""
        if one.id.kind not in _WITH_CONTROLLERS:
            assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"], one.id


_WITH_CONTROLLERS = ("Deployment", "StatefulSet", "Job", "HorizontalPodAutoscaler", "PodDisruptionBudget")
"""Kinds with controllers that write status at any time."""


async def test_a_change_by_another_manager_is_noticed_and_the_manager_named(
    client: KubernetesClient, namespace: str, shop: list[DesiredObject]
) -> None:
    for one in shop:
        applied = await apply(client, namespace, one)
        metadata = {"name": one.id.name, "labels": {LABEL_COMPONENT: "changed"}}
        patch = {"apiVersion": applied["apiVersion"], "kind": one.id.kind, "metadata": metadata}
        changed = await client.apply(CHILD_KINDS[one.id.kind], namespace, patch, manager="kubectl-edit")
        assert observe(changed).owned_digest != observe(applied).owned_digest, one.id
        inventory = Inventory().with_applied(one, observe(applied).owned_digest)
        change = compare(one, inventory, {one.id: observe(changed)})
        assert change is not None
        assert (change.manager, change.field) == ("kubectl-edit", f"metadata.labels[{LABEL_COMPONENT}]"), one.id
        restored = await apply(client, namespace, one)
        assert observe(restored).owned_digest == observe(applied).owned_digest, one.id


async def test_metadata_alone_shows_what_is_decided_on(
    client: KubernetesClient, namespace: str, shop: list[DesiredObject]
) -> None:
    kinds = {one.id.kind for one in shop if CHILD_KINDS[one.id.kind].metadata_only}
    assert {"NetworkPolicy", "PodDisruptionBudget"} <= kinds
    for kind in kinds:
        assert [page async for page, _ in client.pages(CHILD_KINDS[kind], namespace)] == [[]]
    applied = {one.id: observe(await apply(client, namespace, one)) for one in shop if one.id.kind in kinds}
    listed = [one for kind in kinds async for page, _ in client.pages(CHILD_KINDS[kind], namespace) for one in page]
    assert not any("spec" in one for one in listed)
    seen = {one.id: one for one in map(observe, listed)}
    assert {one: (object_.owned_digest, object_.state) for one, object_ in seen.items()} == {
        one: (object_.owned_digest, object_.state) for one, object_ in applied.items()
    }


async def test_writes_of_controllers_are_not_taken_for_drift(
    client: KubernetesClient, namespace: str, shop: list[DesiredObject]
) -> None:
    applied = {one.id: observe(await apply(client, namespace, one)).owned_digest for one in shop}
    await asyncio.sleep(3)  # time for the controllers of Deployments, Jobs, budgets and autoscalers to write
    for one in shop:
        stored = await client.get(CHILD_KINDS[one.id.kind], namespace, one.id.name)
        assert stored is not None
        assert observe(stored).owned_digest == applied[one.id], one.id


async def test_replicas_survive_the_handover_to_an_autoscaler(
    client: KubernetesClient, namespace: str, shop: list[DesiredObject]
) -> None:
    deployment = next(one for one in shop if one.id.name == "shop-order" and one.id.kind == "Deployment")
    kind, manifest = CHILD_KINDS["Deployment"], deployment.manifest
    fixed = manifest | {"spec": manifest["spec"] | {"replicas": 3}}
    await client.apply(kind, namespace, fixed)
    await client.apply(kind, namespace, replicas(manifest, 3), manager=HANDOVER_MANAGER)
    handed_over = await client.apply(kind, namespace, manifest)
    assert handed_over["spec"]["replicas"] == 3


def replicas(manifest: Manifest, count: int) -> dict[str, Any]:
    metadata = {"name": manifest["metadata"]["name"]}
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": metadata,
        "spec": {"replicas": count},
    }


async def test_an_apply_over_another_version_than_the_one_that_was_read_is_refused(
    client: KubernetesClient, namespace: str
) -> None:
    """The record of rotations is written so (apply.rotation_store)."""
    kind = CHILD_KINDS["ConfigMap"]

    def record(step: str, **read: str) -> Manifest:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "record", **read}, "data": {"step": step}}

    first = await client.apply(kind, namespace, record("Publish"))
    read = {"resourceVersion": first["metadata"]["resourceVersion"]}
    await client.apply(kind, namespace, record("Use", **read))
    with pytest.raises(ApiError) as refused:
        await client.apply(kind, namespace, record("Retire", **read))
    assert refused.value.status == 409
