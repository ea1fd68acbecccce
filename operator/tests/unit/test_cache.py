from typing import Any

from platform_operator.api.kinds import FIELD_MANAGER, Key, ObjectId
from platform_operator.cache.observed import Cache, Document, JobRun, Workload, observe, platform_of

KEY = Key("shop", "shop")


def manifest(kind: str = "ConfigMap", version: int = 1, **more: Any) -> dict[str, Any]:
    metadata = {"name": "x", "namespace": "shop", "uid": "u", "resourceVersion": str(version), "generation": 2}
    return {"kind": kind, "metadata": metadata | more.pop("metadata", {}), **more}


def managed(*entries: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    fields = [{"manager": manager, "operation": operation, "fieldsV1": value} for manager, operation, value in entries]
    return {"metadata": {"managedFields": fields}}


def test_losing_a_field_changes_what_is_owned() -> None:
    whole = observe(manifest(**managed((FIELD_MANAGER, "Apply", {"f:data": {"f:a": {}, "f:b": {}}}))))
    less = observe(
        manifest(
            **managed(
                (FIELD_MANAGER, "Apply", {"f:data": {"f:a": {}}}), ("kubectl-edit", "Update", {"f:data": {"f:b": {}}})
            )
        )
    )
    assert whole.owned != less.owned


def test_fields_of_others_do_not_matter() -> None:
    alone = observe(manifest(**managed((FIELD_MANAGER, "Apply", {"f:data": {}}))))
    shared = observe(
        manifest(**managed((FIELD_MANAGER, "Apply", {"f:data": {}}), ("hpa", "Update", {"f:spec": {"f:replicas": {}}})))
    )
    assert alone.owned == shared.owned


def test_an_object_that_the_operator_never_applied_is_not_owned() -> None:
    assert observe(manifest(**managed((FIELD_MANAGER, "Update", {"f:data": {}})))).owned == ""


def test_a_deployments_progress_counts_only_for_its_newest_generation() -> None:
    status = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1, "observedGeneration": 1}
    workload = observe(manifest("Deployment", spec={"replicas": 2}, status=status)).state
    assert workload == Workload(wanted=2, total=2, updated=2, ready=1, current=False)


def test_a_rollout_that_its_deadline_ended_has_failed() -> None:
    condition = {"type": "Progressing", "status": "False", "message": "ReplicaSet has timed out progressing."}
    workload = observe(manifest("Deployment", spec={}, status={"conditions": [condition]})).state
    assert isinstance(workload, Workload)
    assert workload.failure == "ReplicaSet has timed out progressing."


def test_a_jobs_conditions_tell_how_it_ended() -> None:
    def run(kind: str) -> Any:
        return observe(
            manifest("Job", status={"conditions": [{"type": kind, "status": "True", "reason": "why"}]})
        ).state

    assert run("Complete") == JobRun(complete=True)
    assert run("Failed") == JobRun(complete=False, failure="why")


def test_the_content_of_secrets_is_neither_kept_nor_looked_at() -> None:
    state = observe(manifest("Secret", data={"A": "Yg==", "not text": "/w=="})).state
    assert isinstance(state, Document)
    assert state.data == {}


def test_no_annotation_makes_an_object_unreadable() -> None:
    assert observe(manifest(metadata={"annotations": {"platform.ecommerce.dev/wave": "²"}})).id.name == "x"


def test_an_event_older_than_our_own_write_is_ignored() -> None:
    cache = Cache()
    cache.keep(KEY, observe(manifest(version=5)))
    cache.keep(KEY, observe(manifest(version=3)))
    assert cache.children(KEY)[ObjectId("ConfigMap", "x")].version == 5


def test_a_list_does_not_bring_back_what_was_deleted_meanwhile() -> None:
    cache = Cache()
    cache.drop(KEY, ObjectId("ConfigMap", "x"), 9)
    cache.keep(KEY, observe(manifest(version=5)))
    assert not cache.children(KEY)
    cache.keep(KEY, observe(manifest(version=10)))
    assert cache.children(KEY)


def test_an_object_that_only_lost_our_label_is_kept_when_it_is_read() -> None:
    cache = Cache()
    cache.keep(KEY, observe(manifest(version=8)))
    cache.drop(KEY, ObjectId("ConfigMap", "x"), 9)
    assert not cache.children(KEY)
    cache.keep(KEY, observe(manifest(version=9)))
    assert cache.children(KEY)


def test_a_child_is_its_owners_whatever_its_label_says() -> None:
    labels = {"app.kubernetes.io/instance": "other"}
    owners = [{"kind": "ReplicaSet", "name": "x"}, {"kind": "EcommercePlatform", "name": "shop"}]
    assert platform_of(manifest(metadata={"labels": labels, "ownerReferences": owners})) == KEY
    assert platform_of(manifest(metadata={"labels": labels})) == Key("shop", "other")


def test_a_list_drops_what_it_does_not_show_unless_that_is_newer() -> None:
    cache = Cache()
    cache.keep(KEY, observe(manifest(version=5)))
    cache.retain("ConfigMap", set(), 4, None)
    assert cache.children(KEY)
    cache.retain("ConfigMap", set(), 6, "elsewhere")
    cache.retain("Secret", set(), 6, None)
    assert cache.children(KEY)
    cache.retain("ConfigMap", set(), 6, None)
    assert not cache.children(KEY)
