"""Deletions that nothing explains wait for the user."""

import pytest

from platform_operator.api.kinds import ObjectId, PlatformKey
from platform_operator.api.spec import WITH_DATABASE, parse
from platform_operator.cache.observed import Children, ObservedObject
from platform_operator.plan.prune_guard import MAX_SHARE, PruneGuard, declared_removals, prune_id

KEY = PlatformKey("shop", "shop")
EXTERNAL = {
    "databases": {
        "provider": "external",
        "external": {name: {"secretRef": {"name": "own"}} for name in WITH_DATABASE},
    },
    "cache": {"provider": "external", "secretRef": {"name": "own"}},
    "broker": {"provider": "external", "secretRef": {"name": "own"}},
    "networkPolicies": {"enabled": False},
}


def seen(kind: str, name: str, uid: str = "u1") -> ObservedObject:
    return ObservedObject(ObjectId(kind, name), uid, 1, "fields", "", False, None)


def children(*objects: ObservedObject) -> Children:
    return {one.id: one for one in objects}


SERVICES = tuple(seen("Service", f"shop-{number}") for number in range(100))
STORE, SECRET = seen("StatefulSet", "shop-order-db"), seen("Secret", "shop-jwt")


def held(*leftovers: ObservedObject, guard: PruneGuard = PruneGuard()) -> tuple[ObservedObject, ...]:  # noqa: B008
    return guard.held(leftovers, children(*SERVICES, *leftovers))


def test_a_few_objects_without_data_are_deleted() -> None:
    few = SERVICES[: int(len(SERVICES) * MAX_SHARE)]
    assert held(*few) == ()


def test_a_large_share_of_a_shop_is_held() -> None:
    many = SERVICES[: int(len(SERVICES) * MAX_SHARE) + 1]
    assert held(*many) == many


@pytest.mark.parametrize("one", [STORE, SECRET, seen("Cluster", "shop-order-db")])
def test_one_store_or_secret_holds_whatever_else_the_same_rendering_lacks(one: ObservedObject) -> None:
    assert held(one, SERVICES[0]) == (one, SERVICES[0])


def test_a_declared_change_explains_its_deletions() -> None:
    guard = PruneGuard(declared_removals(KEY, parse(EXTERNAL)))
    stores = [seen("StatefulSet", f"shop-{name}-db") for name in WITH_DATABASE]
    stores += [seen("StatefulSet", "shop-redis"), seen("StatefulSet", "shop-rabbitmq")]
    policies = [seen("NetworkPolicy", f"shop-{number}") for number in range(90)]
    assert held(*stores, seen("Secret", "shop-order-broker"), *policies, guard=guard) == ()


def test_a_change_explains_no_other_store() -> None:
    spec = parse({"cache": EXTERNAL["cache"]})
    guard = PruneGuard(declared_removals(KEY, spec))
    assert held(STORE, seen("StatefulSet", "shop-redis"), guard=guard) == (STORE,)


def test_monitoring_is_explained_only_while_it_is_disabled() -> None:
    prometheus = seen("StatefulSet", "shop-monitoring")
    for enabled in (True, False):
        guard = PruneGuard(declared_removals(KEY, parse({"monitoring": {"enabled": enabled}})))
        assert held(prometheus, guard=guard) == ((prometheus,) if enabled else ())


def test_the_annotation_allows_exactly_the_set_that_it_names() -> None:
    guard = PruneGuard(allowed=prune_id([STORE, SECRET]))
    assert held(STORE, SECRET, guard=guard) == ()
    assert held(STORE, guard=guard) == (STORE,)
    another = seen("StatefulSet", "shop-payment-db")
    assert held(STORE, SECRET, another, guard=guard) == (STORE, SECRET, another)


def test_the_annotation_does_not_allow_later_objects_of_the_same_names() -> None:
    guard = PruneGuard(allowed=prune_id([STORE]))
    recreated = seen("StatefulSet", "shop-order-db", uid="u2")
    assert held(recreated, guard=guard) == (recreated,)
