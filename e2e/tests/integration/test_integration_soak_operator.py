"""The soak of the operator, and how it judges what it sees."""

import copy
import os
import random
from pathlib import Path

import pytest
from shop_e2e.soak_operator.__main__ import Options, soak
from shop_e2e.soak_operator.disturbances import edits
from shop_e2e.soak_operator.report import WARM_UP, Figures, Sample, growth, memory_slope, table
from shop_e2e.soak_operator.shops import compare, platform, unsettled

from platform_operator.api.kinds import LABEL_COMPONENT, LABEL_PART_OF, PLATFORM, Manifest, ObjectId

SERVICE = ObjectId("Service", "shop-order")
HOUR = 3600.0


@pytest.mark.slow
async def test_twenty_shops_converge_and_leak_nothing_in_an_hour_of_disturbances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "")  # the control plane sets its own: later tests get the one before
    seed = int(os.environ.get("SEED", random.randrange(2**32)))

    figures = await soak(Options(seed=seed), tmp_path)

    print(table(figures))
    assert figures.failures == []
    assert all(figures.done.values()), "each kind of disturbance has happened"


def service(namespace: str, port: int = 8080, address: str = "10.0.0.1") -> Manifest:
    metadata = {"name": "shop-order", "namespace": namespace, "uid": namespace, "labels": {"a": "b"}}
    spec = {"clusterIP": address, "ports": [{"port": port}], "selector": {"namespace": namespace}}
    return {"kind": "Service", "metadata": metadata, "spec": spec}


def test_shops_of_one_spec_differ_only_in_what_is_their_own() -> None:
    objects = {
        "shop-1": {SERVICE: service("shop-1", address="10.0.0.2")},
        "reference-0": {SERVICE: service("reference-0")},
    }

    assert compare("shop-1", objects, "reference-0") == []


def test_an_object_that_differs_is_missing_or_left_over_is_named() -> None:
    other = ObjectId("Service", "shop-user")
    objects = {
        "shop-1": {SERVICE: service("shop-1", port=1)},
        "shop-2": {},
        "shop-3": {SERVICE: service("shop-3"), other: service("shop-3")},
        "reference-0": {SERVICE: service("reference-0")},
    }

    assert compare("shop-1", objects, "reference-0") == [
        "shop-1: Service shop-order differs: spec.ports[0].port is 1, not 8080"
    ]
    assert compare("shop-2", objects, "reference-0") == ["shop-2: Service shop-order is missing"]
    assert compare("shop-3", objects, "reference-0") == ["shop-3: Service shop-user is left over"]


def test_a_platform_is_settled_when_its_newest_spec_is_ready() -> None:
    stored = platform(0)
    stored["metadata"] |= {"namespace": "shop-1", "generation": 2}
    stored["status"] = {"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True"}]}
    late, failed = copy.deepcopy(stored), copy.deepcopy(stored)
    late["status"]["observedGeneration"] = 1
    failed["status"]["conditions"] = [{"type": "Ready", "status": "False", "message": "no pod"}]

    assert unsettled(stored) == ""
    assert unsettled(late) == "shop-1: the newest spec is not observed"
    assert unsettled(failed) == "shop-1: not Ready: no pod"


def test_each_edit_takes_a_field_that_the_child_has() -> None:
    assert {"spec": {"ports": [{"port": 8080, "protocol": "TCP", "targetPort": 1}]}} in edits(
        {"kind": "Service", "metadata": {}, "spec": {"ports": [{"port": 8080, "protocol": "TCP"}]}}
    )
    assert all("labels" in edit["metadata"] for edit in edits({"kind": "ServiceAccount", "metadata": {}}))


def test_what_has_no_owner_keeps_the_label_without_which_it_is_not_the_operators() -> None:
    owned = {"kind": "Secret", "metadata": {"ownerReferences": [{"kind": PLATFORM.kind}]}, "data": {}}

    taken = [[*edit["metadata"]["labels"]] for edit in edits(owned)]
    left = [[*edit["metadata"]["labels"]] for edit in edits({"kind": "Secret", "metadata": {}, "data": {}})]

    assert taken == [[LABEL_COMPONENT], [LABEL_PART_OF]]
    assert left == [[LABEL_COMPONENT]]


def sample(life: str, at: float, resident: float, threads: int = 10) -> Sample:
    return Sample(life, at, int(resident), threads, connections=20, tasks=30)


def test_memory_grows_by_the_slope_within_processes_after_their_warm_up() -> None:
    def grown(life: str, began: float, level: float, warm_up: float) -> list[Sample]:
        times = [60.0 * minute for minute in range(30)]
        return [sample(life, began + time, level + 5 * time + (warm_up if time >= WARM_UP else 0)) for time in times]

    slope = memory_slope([*grown("a", 0, 1000, 5e6), *grown("b", HOUR, 9e6, 1e6)])

    assert slope == pytest.approx(5)


def test_the_slope_is_not_known_if_no_process_led_for_longer_than_its_warm_up() -> None:
    assert memory_slope([sample("a", 0, 1000), sample("a", WARM_UP, 2000)]) is None


def test_more_threads_connections_or_tasks_than_at_the_start_are_a_leak() -> None:
    figures = Figures(20, 1, HOUR, "", first=sample("a", 0, 0), last=sample("b", HOUR, 0, threads=40))

    assert growth(figures) == ["the leader has 40 threads, after 10 at the start"]
