"""The reasons for which an object is applied."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from platform_operator.api.kinds import FIELD_MANAGER, HANDOVER_MANAGER, ObjectId
from platform_operator.cache.managed_fields import MAX_FOREIGN_FIELDS, MAX_PATH_LENGTH, readable_path
from platform_operator.cache.observed import ObservedObject, observe
from platform_operator.plan.comparison import Change, ChangeReason, compare
from platform_operator.plan.inventory import DesiredObject, Inventory

Fields = dict[str, Any]

MANIFEST: Fields = {
    "kind": "Deployment",
    "metadata": {"name": "shop-order", "labels": {"app.kubernetes.io/name": "order"}},
    "spec": {"replicas": 1, "containers": [{"name": "order", "image": "order:1", "args": ["serve"]}]},
}
DEPLOYMENT = DesiredObject(ObjectId("Deployment", "shop-order"), 3, "content", json.dumps(MANIFEST))

IMAGE: Fields = {"f:spec": {"f:containers": {'k:{"name":"order"}': {".": {}, "f:image": {}}}}}
REPLICAS: Fields = {"f:spec": {"f:replicas": {}}}
LABEL: Fields = {"f:metadata": {"f:labels": {"f:app.kubernetes.io/name": {}}}}
NOT_DESIRED = {"f:metadata": {"f:annotations": {"f:note": {}}}, "f:spec": {"f:paused": {}}}
OWNED = {"f:spec": {**REPLICAS["f:spec"], **IMAGE["f:spec"]}, **LABEL}


def entry(manager: str, fields: Fields, second: int = 0, **more: str) -> Fields:
    time = f"2026-01-01T00:00:{second:02}Z"
    return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields, **more}


def observed(owned: Fields, *others: Fields, deleting: bool = False) -> ObservedObject:
    """The Deployment, of which the operator still owns the given fields."""
    own = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": owned}
    metadata = MANIFEST["metadata"] | {
        "uid": "u",
        "resourceVersion": "7",
        "generation": 1,
        "managedFields": [own, *others],
    }
    return observe(MANIFEST | {"metadata": metadata | ({"deletionTimestamp": "now"} if deleting else {})})


def change(seen: ObservedObject | None, applied: DesiredObject | None = DEPLOYMENT) -> Change | None:
    inventory = Inventory()
    if applied:
        inventory = inventory.with_applied(applied, observed(OWNED).owned_digest)
    return compare(DEPLOYMENT, inventory, {DEPLOYMENT.id: seen} if seen else {})


@pytest.mark.parametrize("seen", [None, observed(OWNED)])
def test_an_object_that_is_not_in_the_inventory_is_not_applied_yet(seen: ObservedObject | None) -> None:
    made = change(seen, applied=None)
    assert made == Change(DEPLOYMENT, ChangeReason.NOT_APPLIED_YET)
    assert not made.is_repair


@pytest.mark.parametrize("seen", [None, observed(OWNED), observed({}, entry("kubectl-edit", IMAGE))])
def test_an_object_with_new_content_has_changed_content(seen: ObservedObject | None) -> None:
    made = change(seen, applied=replace(DEPLOYMENT, digest="older"))
    assert made == Change(DEPLOYMENT, ChangeReason.CONTENT_CHANGED)
    assert not made.is_repair


def test_a_deleted_object_is_absent_and_repaired() -> None:
    made = change(None)
    assert made == Change(DEPLOYMENT, ChangeReason.ABSENT)
    assert made.is_repair
    assert str(made) == "Deployment shop-order: was deleted and has been created again"


def test_an_object_as_it_was_applied_is_not_changed() -> None:
    assert change(observed(OWNED)) is None
    assert change(observed(OWNED, entry("kubectl-edit", NOT_DESIRED))) is None


def test_an_object_that_is_being_deleted_is_not_changed() -> None:
    assert change(observed({}, deleting=True)) is None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (IMAGE, "spec.containers[name=order].image"),
        (REPLICAS, "spec.replicas"),
        (LABEL, "metadata.labels[app.kubernetes.io/name]"),
    ],
)
def test_the_manager_that_took_a_field_is_named(fields: Fields, field: str) -> None:
    made = change(observed({"f:kind": {}}, entry("kubectl-edit", fields)))
    assert made == Change(DEPLOYMENT, ChangeReason.LOST_FIELDS, "kubectl-edit", field)
    assert made.is_repair
    assert str(made) == f"Deployment shop-order: field {field} was taken by kubectl-edit and has been restored"


def test_the_manager_that_scaled_an_object_is_named() -> None:
    """`kubectl scale` writes through a subresource."""
    made = change(observed(IMAGE | LABEL, entry("kubectl", REPLICAS, subresource="scale")))
    assert made == Change(DEPLOYMENT, ChangeReason.LOST_FIELDS, "kubectl", "spec.replicas")


def test_of_several_managers_the_newest_that_took_a_field_is_named() -> None:
    others = (entry("older", REPLICAS, 1), entry("newer", IMAGE, 2), entry("newest", NOT_DESIRED, 3))
    made = change(observed(LABEL, *others))
    assert made is not None
    assert made.manager == "newer"


@pytest.mark.parametrize(
    "other",
    [
        entry("kube-controller-manager", REPLICAS, subresource="status"),
        entry(HANDOVER_MANAGER, REPLICAS),
        entry(FIELD_MANAGER, REPLICAS),
        entry("kubectl-edit", NOT_DESIRED),
        entry("kubectl-edit", LABEL),  # which the operator still owns too
    ],
)
def test_a_manager_that_took_no_field_is_not_named(other: Fields) -> None:
    made = change(observed(IMAGE | LABEL, other))
    assert made == Change(DEPLOYMENT, ChangeReason.LOST_FIELDS)
    assert str(made) == "Deployment shop-order: fields were removed and have been restored"


def test_a_plan_without_manifests_names_no_manager() -> None:
    bare = replace(DEPLOYMENT, json="")
    inventory = Inventory().with_applied(bare, "fields")
    seen = observed({}, entry("kubectl-edit", IMAGE))
    assert compare(bare, inventory, {bare.id: seen}) == Change(bare, ChangeReason.LOST_FIELDS)


def test_the_cache_holds_foreign_fields_only_and_a_bounded_number() -> None:
    assert (
        observed(OWNED, entry("kube-controller-manager", {"f:status": {}}, subresource="status")).foreign_fields == ()
    )
    long: Fields = {"f:data": {"f:" + "x" * MAX_PATH_LENGTH: {}}}
    assert observed(OWNED, entry("flood", long)).foreign_fields == ()
    many: Fields = {"f:data": {f"f:{number}": {} for number in range(100)}}
    assert len(observed(OWNED, entry("flood", many)).foreign_fields) == MAX_FOREIGN_FIELDS


@pytest.mark.parametrize(
    ("path", "readable"),
    [
        ('f:spec\nf:ports\nk:{"port":80,"protocol":"TCP"}\nf:name', "spec.ports[port=80,protocol=TCP].name"),
        ('f:metadata\nf:finalizers\nv:"x"', 'metadata.finalizers["x"]'),
    ],
)
def test_a_path_is_written_as_a_person_would(path: str, readable: str) -> None:
    assert readable_path(path) == readable


def test_the_manifest_does_not_show_in_the_repr_of_a_change() -> None:
    assert "order:1" not in repr(Change(DEPLOYMENT, ChangeReason.ABSENT))
