"""What the soak does to shops: deletes and edits their objects, and edits, deletes and creates the shops themselves."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from chassis_testing.waiting import eventually

from platform_operator.api.kinds import (
    CHILD_KINDS,
    LABEL_COMPONENT,
    LABEL_PART_OF,
    PLATFORM,
    RELEASE,
    Kind,
    Manifest,
)
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from shop_e2e.soak_operator.shops import NAME, SPECS, Shop, is_child, platform

MANAGER = "soak"
_WEIGHTS = {"deleted children": 45, "edited children": 35, "edited specs": 15, "recreated shops": 5}
_KINDS = [kind for kind in CHILD_KINDS.values() if not kind.optional]
_GONE_TIMEOUT = 120.0
"""Seconds within which a deleted shop has to be gone."""
_IGNORED = (404, 409)
"""The object was deleted or written since it was read."""


@dataclass
class Disturbances:
    """Disturbs the shops, one random step after the other. `shops` has the spec that each has now."""

    client: KubernetesClient
    shops: list[Shop]
    random: random.Random
    done: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_WEIGHTS, 0))

    async def disturb(self) -> None:
        """Disturbs one shop. Raises ApiError."""
        (what,) = self.random.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))
        number = self.random.randrange(len(self.shops))
        steps: Mapping[str, Callable[[int], Awaitable[None]]] = {
            "deleted children": self._delete_child,
            "edited children": self._edit_child,
            "edited specs": self._edit_spec,
            "recreated shops": self._recreate,
        }
        self.done[what] += 1
        await steps[what](number)

    async def restore_specs(self) -> None:
        """Gives all shops the spec that they were created with, so that they have as many objects. Raises ApiError."""
        for number, shop in enumerate(self.shops):
            self.shops[number] = replace(shop, spec=0)
            await self._apply(number)

    async def _delete_child(self, number: int) -> None:
        kind, child = await self._child(number)
        metadata = child["metadata"]
        await self.client.delete(kind, metadata["namespace"], metadata["name"], metadata["uid"])

    async def _edit_child(self, number: int) -> None:
        """Takes fields of a child that the operator applies, as `kubectl apply --server-side --force-conflicts` does.

        The uid keeps it from creating an object that is gone.
        """
        kind, child = await self._child(number)
        edit = self.random.choice(edits(child))
        metadata = {"name": child["metadata"]["name"], "uid": child["metadata"]["uid"]} | edit.pop("metadata", {})
        manifest = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **edit}
        try:
            await self.client.apply(kind, child["metadata"]["namespace"], manifest, manager=MANAGER)
        except ApiError as error:
            if error.status not in _IGNORED:
                raise

    async def _child(self, number: int) -> tuple[Kind, Manifest]:
        """Returns a random child of a shop, whose kind is random too: there are many of some kinds."""
        while True:
            kind = self.random.choice(_KINDS)
            found, _ = await self.client.list(kind, self.shops[number].namespace)
            children = sorted((one for one in found if is_child(one)), key=lambda one: str(one["metadata"]["name"]))
            if children:
                return kind, self.random.choice(children)

    async def _edit_spec(self, number: int) -> None:
        self.shops[number] = replace(self.shops[number], spec=self.random.randrange(len(SPECS)))
        await self._apply(number)

    async def _recreate(self, number: int) -> None:
        """Deletes a shop, waits until it is gone, and creates it again; its volumes and Secrets are retained."""
        namespace = self.shops[number].namespace
        stored = await self.client.get(PLATFORM, namespace, NAME)
        if stored is not None:
            await self.client.delete(PLATFORM, namespace, NAME, stored["metadata"]["uid"])
        await eventually(partial(self._is_gone, namespace), _GONE_TIMEOUT)
        await self._apply(number)

    async def _is_gone(self, namespace: str) -> bool:
        return await self.client.get(PLATFORM, namespace, NAME) is None

    async def _apply(self, number: int) -> None:
        shop = self.shops[number]
        await self.client.apply(PLATFORM, shop.namespace, platform(shop.spec), manager=MANAGER)


def edits(child: Manifest) -> list[Manifest]:
    """Returns changes of a child, each of a field that the operator applies."""
    # What has neither an owner nor the label is not the operator's any more.
    is_owned = bool(child["metadata"].get("ownerReferences"))
    names = (LABEL_COMPONENT, LABEL_PART_OF) if is_owned else (LABEL_COMPONENT,)
    labels: list[Manifest] = [{"metadata": {"labels": {name: "changed"}}} for name in names]
    kind, spec = child["kind"], child.get("spec", {})
    if kind in ("Deployment", "StatefulSet"):
        container = spec["template"]["spec"]["containers"][0]["name"]
        containers = [{"name": container, "image": "changed:1"}]
        return [*labels, {"spec": {"template": {"spec": {"containers": containers}}}}]
    if kind == "Service":
        port = spec["ports"][0]
        changed = {"port": port["port"], "protocol": port["protocol"], "targetPort": 1}
        return [*labels, {"spec": {"ports": [changed]}}]
    if kind in ("ConfigMap", "Secret") and child.get("data"):
        return [*labels, {"data": {min(child["data"]): "Y2hhbmdlZA=="}}]
    if kind == "PodDisruptionBudget":
        return [*labels, {"spec": {"maxUnavailable": 7}}] if "maxUnavailable" in spec else labels
    if kind == "HorizontalPodAutoscaler":
        return [*labels, {"spec": {"maxReplicas": spec["maxReplicas"] + 1}}]
    if kind == RELEASE:
        return labels[:1]
    return labels
