from dataclasses import replace

import pytest

from platform_operator.api.kinds import ObjectId
from platform_operator.cache.observed import JobRun, Observed, Scaler, State, Workload
from platform_operator.plan.planner import Inventory, Plan, Wanted, is_ready, make_plan

STORE = Wanted(ObjectId("StatefulSet", "shop-order-db"), 1, "store")
JOB = Wanted(ObjectId("Job", "shop-order-migrate-1"), 2, "job")
SERVICE = Wanted(ObjectId("Deployment", "shop-order"), 3, "service")
EVERYTHING = (SERVICE, JOB, STORE)

UP = Workload(wanted=1, total=1, updated=1, ready=1, current=True)
DOWN = replace(UP, ready=0)


def seen(wanted: Wanted, state: State = None, *, owned: str = "fields", deleting: bool = False) -> Observed:
    return Observed(wanted.id, "uid", 1, owned, "1", deleting, state)


def remembered(*wanted: Wanted) -> Inventory:
    inventory = Inventory("content")
    for one in wanted:
        inventory = inventory.with_applied(one, "fields")
    return inventory


def plan(
    inventory: Inventory,
    *observed: Observed,
    wanted: tuple[Wanted, ...] = EVERYTHING,
    kept: frozenset[ObjectId] = frozenset(),
) -> Plan:
    return make_plan(wanted, inventory, {one.id: one for one in observed}, kept)


def test_the_first_wave_goes_first_and_the_rest_is_held() -> None:
    made = plan(Inventory())
    assert made.apply == (STORE,)
    assert made.held == 2


def test_a_wave_waits_until_the_one_before_is_ready() -> None:
    waiting = plan(remembered(STORE), seen(STORE, DOWN))
    assert (waiting.apply, waiting.obstacles[0].id) == ((), STORE.id)
    assert plan(remembered(STORE), seen(STORE, UP)).apply == (JOB,)


def test_services_wait_for_migrations_to_complete() -> None:
    applied = remembered(STORE, JOB)
    assert plan(applied, seen(STORE, UP), seen(JOB, JobRun(complete=False))).apply == ()
    assert plan(applied, seen(STORE, UP), seen(JOB, JobRun(complete=True))).apply == (SERVICE,)


def test_a_failed_migration_is_a_failure_and_holds_the_services() -> None:
    made = plan(
        remembered(STORE, JOB), seen(STORE, UP), seen(JOB, JobRun(complete=False, failure="BackoffLimitExceeded"))
    )
    assert made.apply == ()
    assert made.obstacles[0].failed


def test_when_all_is_as_wanted_nothing_is_done() -> None:
    made = plan(remembered(*EVERYTHING), seen(STORE, UP), seen(JOB, JobRun(complete=True)), seen(SERVICE, UP))
    assert made.settled


def test_a_changed_field_is_put_back() -> None:
    made = plan(
        remembered(*EVERYTHING),
        seen(STORE, UP),
        seen(JOB, JobRun(complete=True)),
        seen(SERVICE, UP, owned="fewer fields"),
    )
    assert made.apply == (SERVICE,)


def test_a_deleted_service_comes_back_although_a_store_is_down() -> None:
    made = plan(remembered(*EVERYTHING), seen(STORE, DOWN), seen(JOB, JobRun(complete=True)))
    assert made.apply == (SERVICE,)
    assert made.held == 0


def test_an_upgrade_is_held_while_a_store_is_down() -> None:
    made = plan(
        remembered(*EVERYTHING),
        seen(STORE, DOWN), seen(JOB, JobRun(complete=True)), seen(SERVICE, UP),
        wanted=(STORE, JOB, replace(SERVICE, digest="newer")),
    )  # fmt: skip
    assert (made.apply, made.held) == ((), 1)


def test_an_object_that_is_being_deleted_is_awaited_rather_than_patched() -> None:
    made = plan(remembered(STORE), seen(STORE, UP, deleting=True), wanted=(STORE,))
    assert made.apply == ()
    assert not made.settled


def test_what_is_no_longer_wanted_goes_when_all_else_is_settled() -> None:
    leftover = Wanted(ObjectId("Service", "shop-old"), 0, "x")
    assert plan(remembered(STORE), seen(STORE, DOWN), seen(leftover), wanted=(STORE,)).prune == ()
    assert [one.id for one in plan(remembered(STORE), seen(STORE, UP), seen(leftover), wanted=(STORE,)).prune] == [
        leftover.id
    ]


@pytest.mark.parametrize("kind", ["Job", "HorizontalPodAutoscaler"])
def test_what_would_act_against_the_spec_goes_at_once(kind: str) -> None:
    leftover = Wanted(ObjectId(kind, "shop-old"), 0, "x")
    assert plan(remembered(STORE), seen(STORE, DOWN), seen(leftover), wanted=(STORE,)).prune


def test_nothing_is_pruned_that_is_kept_or_somebody_elses() -> None:
    kept, foreign = Wanted(ObjectId("Secret", "kept"), 0, "x"), Wanted(ObjectId("Secret", "foreign"), 0, "x")
    made = plan(remembered(), seen(kept), seen(foreign, owned=""), wanted=(), kept=frozenset({kept.id}))
    assert made.prune == ()


def test_pods_above_the_autoscalers_floor_are_not_awaited() -> None:
    scaler = seen(Wanted(ObjectId("HorizontalPodAutoscaler", "shop-order"), 4, "hpa"), Scaler(floor=2))
    scaling_up = Workload(wanted=4, total=4, updated=4, ready=2, current=True)
    made = plan(remembered(SERVICE), seen(SERVICE, scaling_up), scaler, wanted=(SERVICE,), kept=frozenset({scaler.id}))
    assert made.settled


def test_a_floor_that_the_autoscaler_has_yet_to_raise_is_awaited() -> None:
    scaler = seen(Wanted(ObjectId("HorizontalPodAutoscaler", "shop-order"), 4, "hpa"), Scaler(floor=2))
    made = plan(remembered(SERVICE), seen(SERVICE, UP), scaler, wanted=(SERVICE,), kept=frozenset({scaler.id}))
    assert not made.settled
    assert [obstacle.text for obstacle in made.obstacles] == ["has 1 of 2 pods ready"]


@pytest.mark.parametrize(
    "workload",
    [
        replace(UP, current=False),  # the controller has not seen the new generation
        replace(UP, total=2),  # a pod of the old generation still runs
        replace(UP, updated=0),
        replace(UP, ready=0),
    ],
)
def test_a_rollout_is_ready_only_when_no_old_pod_is_left(workload: Workload) -> None:
    assert is_ready(UP, 1)
    assert not is_ready(workload, 1)


def test_the_inventory_survives_being_stored() -> None:
    inventory = remembered(*EVERYTHING)
    assert Inventory.load(inventory.dump()) == inventory


@pytest.mark.parametrize("key", ["content", "objects", "checksum"])
def test_an_inventory_that_somebody_changed_is_forgotten(key: str) -> None:
    stored = remembered(*EVERYTHING).dump()
    assert Inventory.load(stored | {key: stored[key] + " "}) == Inventory()
    assert Inventory.load({name: value for name, value in stored.items() if name != key}) == Inventory()


def test_an_inventory_stands_for_its_content_only_when_all_of_it_is_applied() -> None:
    assert remembered(STORE).of("content", (STORE, SERVICE)).content == ""
    assert remembered(STORE, SERVICE).of("content", (STORE, SERVICE)).content == "content"
    assert remembered(STORE).of("content", (replace(STORE, digest="newer"),)).content == ""
