from typing import Any

import pytest

from platform_operator.api.kinds import (
    ANNOTATION_GENERATION,
    ANNOTATION_KEY_ID,
    ANNOTATION_REPLACES_WITHOUT_TLS,
    ANNOTATION_REPLACES_WITHOUT_TOKENS,
    ANNOTATION_SALT,
    CHILD_KINDS,
    FIELD_MANAGER,
    READ_ANNOTATIONS,
    ObjectId,
    PlatformKey,
)
from platform_operator.cache.observed import (
    JobProgress,
    ServiceAddress,
    StoredData,
    Workload,
    observe,
    platform_of,
)
from platform_operator.cache.store import Cache

KEY = PlatformKey("shop", "shop")


def manifest(kind: str = "ConfigMap", version: int = 1, **more: Any) -> dict[str, Any]:
    metadata = {"name": "x", "namespace": "shop", "uid": "u", "resourceVersion": str(version), "generation": 2}
    return {"kind": kind, "metadata": metadata | more.pop("metadata", {}), **more}


def managed(*entries: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    fields = [{"manager": manager, "operation": operation, "fieldsV1": value} for manager, operation, value in entries]
    return {"metadata": {"managedFields": fields}}


def test_losing_a_field_changes_the_owned_digest() -> None:
    whole = observe(manifest(**managed((FIELD_MANAGER, "Apply", {"f:data": {"f:a": {}, "f:b": {}}}))))
    less = observe(
        manifest(
            **managed(
                (FIELD_MANAGER, "Apply", {"f:data": {"f:a": {}}}), ("kubectl-edit", "Update", {"f:data": {"f:b": {}}})
            )
        )
    )
    assert whole.owned_digest != less.owned_digest


def test_fields_of_other_managers_do_not_change_the_owned_digest() -> None:
    alone = observe(manifest(**managed((FIELD_MANAGER, "Apply", {"f:data": {}}))))
    shared = observe(
        manifest(**managed((FIELD_MANAGER, "Apply", {"f:data": {}}), ("hpa", "Update", {"f:spec": {"f:replicas": {}}})))
    )
    assert alone.owned_digest == shared.owned_digest


def test_an_object_that_the_operator_never_applied_has_no_owned_digest() -> None:
    assert observe(manifest(**managed((FIELD_MANAGER, "Update", {"f:data": {}})))).owned_digest == ""


def test_a_deployments_progress_counts_only_for_its_newest_generation() -> None:
    status = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1, "observedGeneration": 1}
    workload = observe(manifest("Deployment", spec={"replicas": 2}, status=status)).state
    assert workload == Workload(desired=2, total=2, updated=2, ready=1, current=False)


def test_a_rollout_that_exceeds_its_deadline_has_failed() -> None:
    condition = {"type": "Progressing", "status": "False", "message": "ReplicaSet has timed out progressing."}
    workload = observe(manifest("Deployment", spec={}, status={"conditions": [condition]})).state
    assert isinstance(workload, Workload)
    assert workload.failure == "ReplicaSet has timed out progressing."


def test_a_jobs_conditions_say_how_it_ended() -> None:
    def run(kind: str) -> Any:
        return observe(
            manifest("Job", status={"conditions": [{"type": kind, "status": "True", "reason": "why"}]})
        ).state

    assert run("Complete") == JobProgress(complete=True)
    assert run("Failed") == JobProgress(complete=False, failure="why")


def test_the_values_of_secrets_are_neither_cached_nor_decoded() -> None:
    state = observe(manifest("Secret", data={"A": "Yg==", "not text": "/w=="})).state
    assert isinstance(state, StoredData)
    assert state.data == {}


def test_the_annotations_that_are_kept_are_those_that_are_read() -> None:
    replaces = {ANNOTATION_REPLACES_WITHOUT_TOKENS, ANNOTATION_REPLACES_WITHOUT_TLS}
    assert {ANNOTATION_KEY_ID, ANNOTATION_SALT, ANNOTATION_GENERATION, *replaces} == READ_ANNOTATIONS


def test_of_a_config_map_only_the_inventory_is_cached() -> None:
    def state(name: str, data: dict[str, str]) -> StoredData:
        labels = {"app.kubernetes.io/instance": "shop", "team": "x"}
        annotations = {f"platform.ecommerce.dev/{name}": text for name, text in (("generation", "1"), ("more", "x"))}
        annotations |= {"platform.ecommerce.dev/master-key-id": "x" * 999, "other": "x"}
        found = observe(
            manifest(data=data, metadata={"name": name, "labels": labels, "annotations": annotations})
        ).state
        assert isinstance(found, StoredData)
        assert (found.labels, found.annotations) == (
            {"app.kubernetes.io/instance": "shop"},
            {"platform.ecommerce.dev/generation": "1"},
        )
        return found

    inventory = {"content": "c", "objects": "[]", "checksum": "s"}
    assert state("shop-applied", inventory | {"more": "x"}).data == inventory
    assert state("shop-applied", inventory | {"objects": "x" * (1 << 17)}).data == {}
    assert state("other-applied", inventory).data == {}
    assert state("shop-rabbitmq", {"definitions.json": "x" * 1_000_000}).data == {}


def test_of_a_service_only_the_metrics_port_is_cached() -> None:
    ports = [{"name": "metrics", "port": 9464}, *({"name": f"p{n}", "port": n} for n in range(1, 100))]
    seen = observe(manifest("Service", spec={"clusterIP": "10.0.0.1", "ports": ports})).state
    assert seen == ServiceAddress("10.0.0.1", {"metrics": 9464})


def test_the_text_of_a_failure_is_bounded() -> None:
    condition = {"type": "Failed", "status": "True", "message": "x" * 100_000}
    seen = observe(manifest("Job", status={"conditions": [condition]})).state
    assert isinstance(seen, JobProgress)
    assert len(seen.failure) == 512


def test_a_malformed_annotation_is_ignored() -> None:
    assert observe(manifest(metadata={"annotations": {"platform.ecommerce.dev/wave": "²"}})).id.name == "x"


@pytest.mark.parametrize("kind", [kind.kind for kind in CHILD_KINDS.values() if kind.metadata_only])
def test_nothing_but_metadata_is_read_of_a_kind_that_comes_without_its_body(kind: str) -> None:
    owned = managed((FIELD_MANAGER, "Apply", {"f:spec": {"f:rules": {}}}))
    whole = manifest(kind, spec={"rules": [1]}, status={"ready": True}, **owned)
    assert observe(whole) == observe({"kind": kind, "metadata": whole["metadata"]})


def test_an_event_older_than_the_operators_own_write_is_ignored() -> None:
    cache = Cache()
    cache.store(KEY, observe(manifest(version=5)))
    cache.store(KEY, observe(manifest(version=3)))
    assert cache.children(KEY)[ObjectId("ConfigMap", "x")].version == 5


def test_a_list_does_not_bring_back_an_object_deleted_since() -> None:
    cache = Cache()
    cache.remove(KEY, ObjectId("ConfigMap", "x"), 9)
    cache.store(KEY, observe(manifest(version=5)))
    assert not cache.children(KEY)
    cache.store(KEY, observe(manifest(version=10)))
    assert cache.children(KEY)


def test_an_object_that_only_lost_its_label_is_stored_when_it_is_read() -> None:
    cache = Cache()
    cache.store(KEY, observe(manifest(version=8)))
    cache.remove(KEY, ObjectId("ConfigMap", "x"), 9)
    assert not cache.children(KEY)
    cache.store(KEY, observe(manifest(version=9)))
    assert cache.children(KEY)


def test_the_owner_of_a_child_takes_precedence_over_its_label() -> None:
    labels = {"app.kubernetes.io/instance": "other"}
    owners = [{"kind": "ReplicaSet", "name": "x"}, {"kind": "EcommercePlatform", "name": "shop"}]
    assert platform_of(manifest(metadata={"labels": labels, "ownerReferences": owners})) == KEY
    assert platform_of(manifest(metadata={"labels": labels})) == PlatformKey("shop", "other")


def test_a_list_removes_what_it_does_not_contain_unless_that_is_newer() -> None:
    cache = Cache()
    cache.store(KEY, observe(manifest(version=5)))
    cache.remove_unlisted("ConfigMap", set(), 4, None)
    assert cache.children(KEY)
    cache.remove_unlisted("ConfigMap", set(), 6, "elsewhere")
    cache.remove_unlisted("Secret", set(), 6, None)
    assert cache.children(KEY)
    cache.remove_unlisted("ConfigMap", set(), 6, None)
    assert not cache.children(KEY)
