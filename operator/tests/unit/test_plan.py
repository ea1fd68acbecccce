import json
from dataclasses import replace

import pytest

from platform_operator.api.kinds import ObjectId
from platform_operator.cache.observed import Autoscaler, JobProgress, ObservedObject, ObservedState, Workload
from platform_operator.plan.dependencies import Progress
from platform_operator.plan.inventory import DesiredObject, Inventory
from platform_operator.plan.planner import Plan, make_plan
from platform_operator.plan.prune_guard import PruneGuard, Removals
from platform_operator.plan.readiness import is_ready

STORE = DesiredObject(ObjectId("StatefulSet", "shop-order-db"), 1, "store")
JOB = DesiredObject(ObjectId("Job", "shop-order-migrate-1"), 2, "job")
SERVICE = DesiredObject(ObjectId("Deployment", "shop-order"), 3, "service")
EVERYTHING = (SERVICE, JOB, STORE)

UP = Workload(desired=1, total=1, updated=1, ready=1, current=True)
DOWN = replace(UP, ready=0)
UNGUARDED = PruneGuard(Removals(kinds=frozenset({"Service", "Job", "HorizontalPodAutoscaler"})))
COMPLETE = JobProgress(complete=True)


def seen(
    desired: DesiredObject, state: ObservedState = None, *, owned: str = "fields", deleting: bool = False
) -> ObservedObject:
    return ObservedObject(desired.id, "uid", 1, owned, "1", deleting, state)


def applied(*desired: DesiredObject) -> Inventory:
    inventory = Inventory("content")
    for one in desired:
        inventory = inventory.with_applied(one, "fields")
    return inventory


def plan(
    inventory: Inventory,
    *observed: ObservedObject,
    desired: tuple[DesiredObject, ...] = EVERYTHING,
    protected: frozenset[ObjectId] = frozenset(),
    guard: PruneGuard = UNGUARDED,
    attempted: frozenset[ObjectId] = frozenset(),
    stops: bool = False,
) -> Plan:
    return make_plan(desired, inventory, {one.id: one for one in observed}, protected, guard, attempted, stops=stops)


def to_apply(made: Plan) -> list[DesiredObject]:
    return [change.object for change in made.apply]


def test_the_first_wave_is_applied_first_and_the_rest_is_held() -> None:
    made = plan(Inventory())
    assert to_apply(made) == [STORE]
    assert made.held == 2


def test_planning_compares_each_object_with_the_workloads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with each other, the 150 objects of a new shop take as long as everything else in a plan."""
    compared: list[ObjectId] = []
    is_first = Progress._is_first

    def count(self: Progress, one: DesiredObject, other: DesiredObject) -> bool:
        compared.append(other.id)
        return is_first(self, one, other)

    monkeypatch.setattr(Progress, "_is_first", count)
    others = tuple(DesiredObject(ObjectId("ConfigMap", str(number)), 4, "other") for number in range(100))
    plan(Inventory(), desired=(*EVERYTHING, *others))
    assert set(compared) == {one.id for one in EVERYTHING}


def test_a_wave_waits_until_the_one_before_is_ready() -> None:
    waiting = plan(applied(STORE), seen(STORE, DOWN))
    assert (waiting.apply, waiting.blockers[0].id) == ((), STORE.id)
    assert to_apply(plan(applied(STORE), seen(STORE, UP))) == [JOB]


def test_services_wait_for_migrations_to_complete() -> None:
    inventory = applied(STORE, JOB)
    assert to_apply(plan(inventory, seen(STORE, UP), seen(JOB, JobProgress(complete=False)))) == []
    assert to_apply(plan(inventory, seen(STORE, UP), seen(JOB, COMPLETE))) == [SERVICE]


def test_a_failed_migration_blocks_the_services() -> None:
    failed = JobProgress(complete=False, failure="BackoffLimitExceeded")
    made = plan(applied(STORE, JOB), seen(STORE, UP), seen(JOB, failed))
    assert made.apply == ()
    assert made.blockers[0].failed


def test_nothing_is_done_when_everything_is_as_desired() -> None:
    made = plan(applied(*EVERYTHING), seen(STORE, UP), seen(JOB, COMPLETE), seen(SERVICE, UP))
    assert made.converged


def test_a_changed_field_is_restored() -> None:
    changed = seen(SERVICE, UP, owned="fewer fields")
    assert to_apply(plan(applied(*EVERYTHING), seen(STORE, UP), seen(JOB, COMPLETE), changed)) == [SERVICE]


def test_a_deleted_service_is_restored_while_a_store_is_down() -> None:
    made = plan(applied(*EVERYTHING), seen(STORE, DOWN), seen(JOB, COMPLETE))
    assert to_apply(made) == [SERVICE]
    assert made.held == 0


def test_an_upgrade_is_held_while_a_store_is_down() -> None:
    made = plan(
        applied(*EVERYTHING),
        seen(STORE, DOWN), seen(JOB, COMPLETE), seen(SERVICE, UP),
        desired=(STORE, JOB, replace(SERVICE, digest="newer")),
    )  # fmt: skip
    assert (made.apply, made.held) == ((), 1)


def test_the_stores_of_a_shop_that_stops_are_stopped_and_never_restarted() -> None:
    """They serve what its services have accepted, until those have no pods."""
    observed = (seen(STORE, UP), seen(JOB, COMPLETE), seen(SERVICE, UP))
    newer, stopped = (
        DesiredObject(STORE.id, STORE.wave, f"store of {replicas}", json.dumps({"spec": {"replicas": replicas}}))
        for replicas in (1, 0)
    )
    service = replace(SERVICE, digest="no pods")
    made = plan(applied(*EVERYTHING), *observed, desired=(newer, JOB, service), stops=True)
    assert (to_apply(made), [one.id for one in made.waiting]) == ([service], [STORE.id])
    assert to_apply(plan(applied(*EVERYTHING), *observed, desired=(stopped, JOB, SERVICE), stops=True)) == [stopped]


def test_an_object_that_is_being_deleted_is_awaited_rather_than_applied() -> None:
    made = plan(applied(STORE), seen(STORE, UP, deleting=True), desired=(STORE,))
    assert made.apply == ()
    assert not made.converged


def test_a_leftover_is_pruned_when_everything_else_has_converged() -> None:
    leftover = DesiredObject(ObjectId("Service", "shop-old"), 0, "x")
    assert plan(applied(STORE), seen(STORE, DOWN), seen(leftover), desired=(STORE,)).prune == ()
    converged = plan(applied(STORE), seen(STORE, UP), seen(leftover), desired=(STORE,))
    assert [one.id for one in converged.prune] == [leftover.id]


@pytest.mark.parametrize("kind", ["Job", "HorizontalPodAutoscaler"])
def test_a_leftover_that_acts_against_the_spec_is_pruned_at_once(kind: str) -> None:
    leftover = DesiredObject(ObjectId(kind, "shop-old"), 0, "x")
    assert plan(applied(STORE), seen(STORE, DOWN), seen(leftover), desired=(STORE,)).prune


def test_protected_and_foreign_objects_are_never_pruned() -> None:
    protected = DesiredObject(ObjectId("Secret", "protected"), 0, "x")
    foreign = DesiredObject(ObjectId("Secret", "foreign"), 0, "x")
    observed = (seen(protected), seen(foreign, owned=""))
    assert plan(applied(), *observed, desired=(), protected=frozenset({protected.id})).prune == ()


AUTOSCALER = DesiredObject(ObjectId("HorizontalPodAutoscaler", "shop-order"), 4, "hpa")


def autoscaled(workload: Workload) -> Plan:
    observed = (seen(SERVICE, workload), seen(AUTOSCALER, Autoscaler(min_replicas=2)))
    return plan(applied(SERVICE), *observed, desired=(SERVICE,), protected=frozenset({AUTOSCALER.id}))


def test_pods_above_the_autoscalers_minimum_are_not_awaited() -> None:
    assert autoscaled(Workload(desired=4, total=4, updated=4, ready=2, current=True)).converged


def test_the_autoscalers_minimum_is_awaited() -> None:
    made = autoscaled(UP)
    assert not made.converged
    assert [one.message for one in made.blockers] == ["has 1 of 2 pods ready"]


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
    inventory = applied(*EVERYTHING)
    assert Inventory.load(inventory.dump()) == inventory


@pytest.mark.parametrize("key", ["content", "objects", "checksum"])
def test_a_tampered_inventory_is_ignored(key: str) -> None:
    stored = applied(*EVERYTHING).dump()
    assert Inventory.load(stored | {key: stored[key] + " "}) == Inventory()
    assert Inventory.load({name: value for name, value in stored.items() if name != key}) == Inventory()


def test_an_inventory_has_the_content_digest_only_when_all_objects_are_applied() -> None:
    assert applied(STORE).for_content("content", (STORE, SERVICE)).content_digest == ""
    assert applied(STORE, SERVICE).for_content("content", (STORE, SERVICE)).content_digest == "content"
    assert applied(STORE).for_content("content", (replace(STORE, digest="newer"),)).content_digest == ""


OTHER_STORE = DesiredObject(ObjectId("StatefulSet", "shop-review-db"), 1, "other store")
OTHER_JOB = DesiredObject(ObjectId("Job", "shop-review-migrate-1"), 2, "other job")
OTHER = DesiredObject(ObjectId("Deployment", "shop-review"), 3, "other service")
BROKER = DesiredObject(ObjectId("StatefulSet", "shop-rabbitmq"), 1, "broker")
GATEWAY = DesiredObject(ObjectId("Deployment", "shop-gateway"), 4, "gateway")
SHOP = (BROKER, STORE, OTHER_STORE, JOB, OTHER_JOB, SERVICE, OTHER, GATEWAY)


def shop(
    *changed: DesiredObject,
    attempted: frozenset[ObjectId] = frozenset(),
    absent: DesiredObject | None = None,
    **states: ObservedState,
) -> Plan:
    """A plan for a shop that runs, but for objects with another state or new content, or that were never applied."""
    usual: dict[str, ObservedState] = {"StatefulSet": UP, "Deployment": UP, "Job": COMPLETE}
    there = [one for one in SHOP if one is not absent]
    observed = [
        seen(one, states.get(one.id.name.removeprefix("shop-").replace("-", "_"), usual[one.id.kind])) for one in there
    ]
    newer = {one.id: replace(one, digest="newer") for one in changed}
    desired = tuple(newer.get(one.id, one) for one in SHOP)
    return plan(applied(*there), *observed, desired=desired, attempted=attempted)


def sent(made: Plan) -> set[str]:
    return {change.object.id.name for change in made.apply}


def test_a_dead_database_stops_only_its_own_service() -> None:
    made = shop(SERVICE, OTHER, GATEWAY, order_db=DOWN, order=DOWN)
    assert sent(made) == {"shop-review"}
    assert [(one.id, one.waits_for) for one in made.waiting] == [(SERVICE.id, STORE.id)]
    assert sent(shop(GATEWAY, order_db=DOWN, order=DOWN)) == {"shop-gateway"}


def test_a_dead_broker_stops_no_change_of_a_service_that_runs_and_the_first_start_of_each() -> None:
    assert sent(shop(SERVICE, rabbitmq=DOWN)) == {"shop-order"}
    assert [one.waits_for for one in shop(rabbitmq=DOWN, absent=SERVICE).waiting] == [BROKER.id]


STORES = (BROKER, STORE, OTHER_STORE)


def test_stores_of_a_new_shop_start_together() -> None:
    assert sent(plan(Inventory(), desired=SHOP)) == {one.id.name for one in STORES}


def test_a_change_of_all_stores_restarts_them_one_at_a_time() -> None:
    first = shop(*STORES)
    assert sent(first) == {"shop-order-db"}
    assert [(one.id, one.waits_for) for one in first.waiting] == [(BROKER.id, STORE.id), (OTHER_STORE.id, STORE.id)]
    for restarting in (replace(UP, current=False), replace(UP, updated=0), DOWN):
        assert sent(shop(BROKER, OTHER_STORE, order_db=restarting)) == set()
    assert sent(shop(BROKER, OTHER_STORE)) == {"shop-rabbitmq"}


def test_a_change_that_reaches_a_store_while_it_is_not_ready_waits_for_no_other() -> None:
    assert sent(shop(*STORES, review_db=DOWN)) == {"shop-review-db"}, "it may be what makes it ready"
    assert sent(shop(*STORES, order_db=DOWN, rabbitmq=DOWN, review_db=DOWN)) == {one.id.name for one in STORES}


def test_a_refused_change_of_a_store_restarts_nothing_and_does_not_hold_the_others() -> None:
    made = shop(*STORES, attempted=frozenset({STORE.id}))
    assert sent(made) == {"shop-order-db", "shop-rabbitmq"}


def test_a_store_of_a_later_wave_holds_no_other() -> None:
    prometheus = DesiredObject(ObjectId("StatefulSet", "shop-monitoring"), 5, "prometheus")
    observed = (seen(STORE, UP), seen(prometheus, DOWN))
    made = plan(applied(STORE, prometheus), *observed, desired=(replace(STORE, digest="newer"), prometheus))
    assert sent(made) == {"shop-order-db"}


def test_a_refused_change_of_a_store_stops_nothing_while_the_store_is_ready() -> None:
    assert sent(shop(STORE, SERVICE, JOB)) == {"shop-order-db"}
    refused = frozenset({STORE.id})
    assert sent(shop(STORE, JOB, SERVICE, attempted=refused)) == {"shop-order-db", "shop-order-migrate-1"}
    assert sent(shop(STORE, SERVICE, attempted=refused)) == {"shop-order-db", "shop-order"}
    down = shop(STORE, SERVICE, OTHER, attempted=refused, order_db=DOWN)
    assert sent(down) == {"shop-order-db", "shop-review"}
    assert not shop(STORE, attempted=refused).idle


def test_a_refused_migration_stops_its_service() -> None:
    made = shop(JOB, SERVICE, OTHER, attempted=frozenset({JOB.id}))
    assert sent(made) == {"shop-order-migrate-1", "shop-review"}


def test_a_failed_migration_stops_its_own_service_alone() -> None:
    failed = JobProgress(complete=False, failure="BackoffLimitExceeded")
    made = shop(SERVICE, OTHER, order_migrate_1=failed)
    assert sent(made) == {"shop-review"}
    assert [(one.id, one.waits_for) for one in made.waiting] == [(SERVICE.id, JOB.id)]


def test_the_gateway_waits_for_services_that_are_being_replaced_but_not_for_those_that_failed() -> None:
    rolling = replace(UP, total=2)
    assert sent(shop(GATEWAY, review=rolling)) == set()
    assert sent(shop(GATEWAY, review=replace(rolling, failure="ProgressDeadlineExceeded"))) == {"shop-gateway"}
    assert sent(shop(absent=GATEWAY, review=DOWN)) == set()
    assert sent(shop(absent=GATEWAY, review=replace(DOWN, failure="ProgressDeadlineExceeded"))) == {"shop-gateway"}
