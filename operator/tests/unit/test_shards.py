"""Shards: each shop is reconciled by exactly one, which knows enough of the others'."""

from __future__ import annotations

from dataclasses import replace

import pytest

from platform_operator.api.kinds import ObjectId, PlatformKey
from platform_operator.api.shards import Shard
from platform_operator.cache.observed import ObservedObject, Platform
from platform_operator.cache.store import Cache
from platform_operator.leader_election import lease_name

KEYS = [PlatformKey(f"team-{number}", "shop") for number in range(300)]


def shards(count: int) -> list[Shard]:
    return [Shard(index, count) for index in range(count)]


def platform(key: PlatformKey, version: int = 1) -> Platform:
    return Platform(key, f"uid of {key}", version, 1, False, {}, {})


def child(kind: str) -> ObservedObject:
    return ObservedObject(ObjectId(kind, "x"), "u", 1, "", "", False, None)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_shop_is_of_exactly_one_shard_and_the_shards_are_of_like_size(count: int) -> None:
    owners = [[shard.index for shard in shards(count) if shard.has(key)] for key in KEYS]
    assert {len(owner) for owner in owners} == {1}
    sizes = [owners.count([index]) for index in range(count)]
    assert min(sizes) > 0.6 * len(KEYS) / count


def test_a_shop_is_in_the_cache_of_its_shard_and_in_the_fleet_of_all() -> None:
    caches = [Cache(shard=shard) for shard in shards(3)]
    for key in KEYS:
        assert [cache.store_platform(platform(key)) for cache in caches].count(True) == 1, "one is woken"
    for cache in caches:
        assert all(cache.shard.has(key) for key in cache.platforms)
        assert {one.key for one in cache.fleet()} == {*KEYS}, "upgrades go at a pace over all shards"
    assert sum(len(cache.platforms) for cache in caches) == len(KEYS)


def test_an_older_version_of_another_shards_shop_changes_nothing_and_a_deleted_one_is_forgotten() -> None:
    key = next(key for key in KEYS if not Shard(0, 2).has(key))
    cache = Cache(shard=Shard(0, 2))
    cache.store_platform(platform(key, 5))
    cache.store_platform(replace(platform(key, 4), generation=7))
    assert [(one.version, one.generation) for one in cache.fleet()] == [(5, 1)]
    cache.remove_unlisted_platforms([], 6, None)
    assert cache.fleet() == ()


def test_of_another_shards_children_only_secrets_are_kept_and_they_wake_nothing() -> None:
    own, other = (next(key for key in KEYS if Shard(0, 2).has(key) is owned) for owned in (True, False))
    cache = Cache(shard=Shard(0, 2))
    assert [cache.store(key, child(kind)) for key in (own, other) for kind in ("Deployment", "Secret")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert (len(cache.children(own)), [*cache.children(other)]) == (2, [ObjectId("Secret", "x")])
    assert len([*cache.all_children()]) == 3, "no master key is created while they exist"


def test_shards_have_leases_of_their_own_and_the_first_has_that_of_an_installation_without_shards() -> None:
    assert lease_name("", Shard(0, 3)) == lease_name("")
    names = {lease_name(own, shard) for own in ("", "staging", "shard-1") for shard in shards(3)}
    assert len(names) == 9
    assert lease_name("staging", Shard(1, 3)) == "ecommerce-operator-staging.shard-1"
