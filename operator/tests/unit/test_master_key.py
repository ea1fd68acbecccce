"""Shops move to the next master key, kind by kind, and no pod ever refuses another or a store."""

from __future__ import annotations

import base64
import copy
import json
import logging
import re
import textwrap
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY
from rotation_harness import WRITES_OF_A_PASS, RotatingShop, each, of
from test_reconciler import KEY, MASTER_KEY, SALT, VOLUME, Manifest, stored_key

from platform_operator.api.conditions import RotationKind
from platform_operator.api.kinds import ANNOTATION_GENERATION, ANNOTATION_KEY_ID, PLATFORM, PlatformKey
from platform_operator.api.restore_marks import ANNOTATION_RESTORE
from platform_operator.cache.observed import Platform, observe, observe_platform
from platform_operator.errors import ApiError
from platform_operator.secrets.master_key import SALTED, KeyRing, MasterKey
from platform_operator.secrets.master_key_store import MASTER_KEY_NAME, READ_INTERVAL, decode_keys
from platform_operator.secrets.rotation import REQUESTED, is_rotating

NEXT_KEY, THIRD_KEY = MasterKey(b"n" * 32), MasterKey(b"t" * 32)
FORMER, NEXT = (key.with_salt(SALT).id for key in (MASTER_KEY, NEXT_KEY))
RECORDS = [("ConfigMap", f"shop-{name}") for name in ("salt", "applied", "rotation")]
ALL_MOVED = dict.fromkeys(RotationKind, (1, "Done"))


@pytest.fixture
async def shop(tmp_path: Path) -> RotatingShop:
    """A shop that was never rotated."""
    return await new_shop(tmp_path)


async def new_shop(path: Path) -> RotatingShop:
    shop = RotatingShop.new(path)
    await shop.settle()
    shop.writes = shop.starts = 0
    return shop


def stored_keys(current: MasterKey, previous: MasterKey) -> Manifest:
    """Returns the Secret with two keys."""
    stored = stored_key(current)
    return stored | {"data": stored["data"] | {"previous": base64.b64encode(previous.secret).decode()}}


def store(shop: RotatingShop, stored: Manifest | None) -> None:
    """Replaces the Secret of the master key, and lets the time pass after which the operator reads it again."""
    shop.cluster.server.master_key = stored
    shop.cluster.now += READ_INTERVAL


async def move(shop: RotatingShop) -> None:
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    await shop.finish()


def key_ids(shop: RotatingShop) -> dict[str, str]:
    """Returns the ids of master keys on each object that has them."""
    annotations = {
        name: one["metadata"].get("annotations") or {} for (_, name), one in shop.cluster.server.objects.items()
    }
    return {name: own[ANNOTATION_KEY_ID] for name, own in annotations.items() if ANNOTATION_KEY_ID in own}


def values(shop: RotatingShop) -> set[str]:
    """Returns the generated values of all Secrets."""
    secrets = (one["data"] for (kind, _), one in shop.cluster.server.objects.items() if kind == "Secret")
    generated = ("PASSWORD", "SECRET", "TOKENS", "CALLERS", "URL", "_CA", "ca.crt", "tls.crt", "tls.key")
    return {value for data in secrets for name, value in data.items() if value and name.endswith(generated)}


def former_key_shops() -> float | None:
    return REGISTRY.get_sample_value("ecommerce_operator_former_master_key_shops")


async def test_a_shop_moves_to_the_next_key_and_no_pod_ever_refuses_another_or_a_store(shop: RotatingShop) -> None:
    before = values(shop)
    assert set(key_ids(shop).values()) == {FORMER}

    await move(shop)

    assert shop.states() == ALL_MOVED
    assert values(shop).isdisjoint(before)
    assert set(key_ids(shop).values()) == {NEXT}
    assert shop.secret("ca")["ca.crt"].count("BEGIN CERTIFICATE") == 1
    assert shop.cluster.condition("Rotating") == ("False", "Rotated")
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    await shop.reconcile()
    assert former_key_shops() == 0


async def test_the_former_key_may_be_removed_when_no_shop_needs_it(shop: RotatingShop) -> None:
    await move(shop)
    moved = shop.objects()
    shop.cluster.server.master_key = stored_key(NEXT_KEY)
    shop.cluster.restart()
    assert (await shop.settle(), shop.objects()) == (None, moved)
    for identity in [one for one in shop.cluster.server.objects if one[0] == "Secret"]:
        del shop.cluster.server.objects[identity]
    await shop.settle()
    assert shop.objects() == moved, "lost Secrets come back as they were"


STEPS = ("Publish", "Use", "Retire")


@pytest.mark.parametrize("passes", [0, 1])
@pytest.mark.parametrize("step", STEPS)
async def test_a_former_key_that_is_removed_too_early_changes_nothing_until_it_is_back(
    shop: RotatingShop, step: str, passes: int
) -> None:
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    await shop.reach(step)
    for _ in range(passes):
        await shop.reconcile()
    before = copy.deepcopy(shop.objects())

    store(shop, stored_key(NEXT_KEY))
    for _ in range(3):
        await shop.reconcile()
        assert shop.objects() == before
        assert shop.cluster.condition("Degraded") == ("True", "MasterKeyChanged")
        shop.cluster.now += timedelta(hours=1)
    assert FORMER in shop.cluster.message("Degraded")

    await move(shop)
    assert shop.states() == ALL_MOVED
    assert set(key_ids(shop).values()) == {NEXT}


async def test_an_operator_of_a_release_that_knows_one_key_takes_objects_of_two_for_those_of_another(
    shop: RotatingShop,
) -> None:
    """It compares each id with that of its key, and changes nothing of a shop one of whose objects has another."""
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    for step in STEPS:
        await shop.reach(step)
        for _ in range(2):
            ids = set(key_ids(shop).values())
            for key in (MASTER_KEY, NEXT_KEY):
                assert ids - key.ids, f"it would derive with {key.id} in {step}"
            await shop.reconcile()
    await shop.finish()
    assert set(key_ids(shop).values()) <= NEXT_KEY.ids, "then it derives the same from the key that it knows"


async def test_what_a_release_that_knows_one_key_leaves_of_the_record_is_enough(shop: RotatingShop) -> None:
    """It writes the record without the ids of keys and without the authority, and the Secrets without its marks."""
    await move(shop)
    moved = values(shop)
    record = shop.cluster.server.objects["ConfigMap", "shop-rotation"]
    record["data"] = {
        kind: text.split(', "key"')[0] + "}" for kind, text in record["data"].items() if kind != "authority"
    }
    for component in ("ca", *(name for name in ("redis-tls", "rabbitmq-tls"))):
        del shop.cluster.server.objects["Secret", f"shop-{component}"]["metadata"]["annotations"][ANNOTATION_GENERATION]
    for one in shop.cluster.server.objects.values():
        shop.cluster.server.touch(one)
    store(shop, stored_key(NEXT_KEY))
    shop.cluster.restart()
    await shop.finish()
    assert values(shop) == moved


# Operators that die, and what they find.


@pytest.mark.parametrize(
    "dies_after",
    [
        *(pytest.param(each(first), marks=pytest.mark.slow if first % 20 else ()) for first in range(WRITES_OF_A_PASS)),
        of("ConfigMap shop-rotation"),
        of("ConfigMap shop-applied"),
        of("ConfigMap shop-salt"),
        of("Secret shop-ca"),
        of("shop status"),
    ],
)
async def test_operators_that_die_after_a_write_leave_a_move_that_others_finish(
    tmp_path: Path, shop: RotatingShop, dies_after: Callable[[int, str], bool]
) -> None:
    shop.die_once_after(dies_after)
    await move(shop)
    assert shop.deaths > 0
    assert shop.states() == ALL_MOVED
    undisturbed = await new_shop(tmp_path)
    await move(undisturbed)
    assert shop.objects() == undisturbed.objects()
    assert key_ids(shop) == key_ids(undisturbed)


@pytest.mark.parametrize("lost", RECORDS, ids=[name for _, name in RECORDS])
@pytest.mark.parametrize("step", STEPS)
async def test_a_lost_record_is_read_from_the_others_and_the_secrets(
    shop: RotatingShop, step: str, lost: tuple[str, str]
) -> None:
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    await shop.reach(step)
    await shop.reconcile()
    del shop.cluster.server.objects[lost]
    await shop.finish()
    assert {step for _, step in shop.states().values()} == {"Done"}
    assert set(key_ids(shop).values()) == {NEXT}


async def test_lost_secrets_come_back_with_the_key_of_their_generation(shop: RotatingShop) -> None:
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    for step in STEPS:
        await shop.reach(step)
        await shop.settle()
        before = shop.objects()
        for identity in [one for one in shop.cluster.server.objects if one[0] == "Secret"]:
            del shop.cluster.server.objects[identity]
        await shop.settle()
        assert shop.objects() == before


def lose_all_but_the_volumes(shop: RotatingShop) -> None:
    """Deletes the labelled Secrets and ConfigMaps. What is left is the platform with its status, pods and volumes."""
    objects = shop.cluster.server.objects
    for identity in [one for one in objects if one[0] in ("Secret", "ConfigMap")]:
        del objects[identity]
    shop.cluster.server.volumes = [VOLUME]


def lose_the_id_in_the_status(shop: RotatingShop) -> Manifest:
    stored = shop.cluster.server.objects[PLATFORM.kind, "shop"]
    del stored["status"]["masterKeyId"]
    shop.cluster.server.touch(stored)
    return stored


async def test_a_shop_that_has_lost_all_but_its_status_comes_back_with_the_key_that_its_databases_know(
    shop: RotatingShop,
) -> None:
    before = values(shop)
    shop.cluster.spec({"paused": True})
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    await shop.reconcile()
    lose_all_but_the_volumes(shop)
    shop.cluster.spec({})
    shop.cluster.restart()
    await shop.reconcile()
    assert values(shop) == before
    assert key_ids(shop)["shop-salt"] == FORMER
    await shop.finish()
    assert set(key_ids(shop).values()) == {NEXT}
    assert shop.cluster.server.objects[PLATFORM.kind, "shop"]["status"]["masterKeyId"] == NEXT


@pytest.mark.parametrize("has_salt", [True, False])
async def test_nothing_is_derived_while_nothing_says_from_which_of_two_keys(shop: RotatingShop, has_salt: bool) -> None:
    before = values(shop)
    stored = lose_the_id_in_the_status(shop)
    if not has_salt:
        del stored["status"]["salt"]
    lose_all_but_the_volumes(shop)
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    shop.cluster.restart()
    for _ in range(2):
        await shop.reconcile()
        assert (values(shop), key_ids(shop)) == (set(), {})
        assert shop.cluster.condition("Degraded") == ("True", "MasterKeyChanged")
    assert FORMER.removesuffix(SALTED) in shop.cluster.message("Degraded")

    if has_salt:  # a shop without one is older than salts
        stored["status"]["masterKeyId"] = FORMER
        shop.cluster.server.touch(stored)
        await shop.reconcile()
        assert values(shop) == before


async def test_a_shop_that_has_lost_all_but_its_status_has_the_only_key(shop: RotatingShop) -> None:
    before = values(shop)
    lose_the_id_in_the_status(shop)
    lose_all_but_the_volumes(shop)
    shop.cluster.restart()
    await shop.reconcile()
    assert values(shop) == before


# A key that is lost for good.


def remove_annotations(shop: RotatingShop, *kinds: str) -> None:
    """Removes the ids of master keys, as the condition MasterKeyChanged advises for Secrets and ConfigMaps."""
    for (kind, _), one in shop.cluster.server.objects.items():
        if kind in kinds and one["metadata"]["annotations"].pop(ANNOTATION_KEY_ID, None):
            shop.cluster.server.touch(one)


async def as_rotated(shop: RotatingShop) -> None:
    shop.ask("all:first")
    await shop.finish()


async def in_use(shop: RotatingShop) -> None:
    shop.ask("all:first")
    await shop.reach("Use")
    await shop.settle()


async def in_use_of_the_next_key(shop: RotatingShop) -> None:
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    await shop.reach("Use")
    await shop.settle()


@pytest.mark.parametrize("comes_so_far", [as_rotated, move, in_use, in_use_of_the_next_key])
async def test_credentials_of_a_lost_key_are_kept_when_the_annotations_are_removed_from_a_rotated_shop(
    shop: RotatingShop, comes_so_far: Callable[[RotatingShop], Awaitable[None]]
) -> None:
    await comes_so_far(shop)
    before = values(shop)
    store(shop, stored_key(THIRD_KEY))
    shop.cluster.restart()
    await shop.reconcile()
    assert shop.cluster.condition("Degraded") == ("True", "MasterKeyChanged")

    remove_annotations(shop, "Secret", "ConfigMap")
    for _ in range(3):
        await shop.settle()
        shop.cluster.now += timedelta(days=1)

    assert values(shop) == before
    assert shop.cluster.condition("Degraded")[0] == "False"
    assert shop.cluster.condition("Ready") == ("True", "AllReady")


@pytest.mark.parametrize("step", STEPS)
async def test_annotations_that_are_removed_from_the_records_alone_are_read_from_the_secrets(
    shop: RotatingShop, step: str
) -> None:
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    await shop.reach(step)
    await shop.settle()
    before = values(shop)
    remove_annotations(shop, "ConfigMap")
    await shop.reconcile()
    assert values(shop) == before
    await shop.finish()
    assert set(key_ids(shop).values()) == {NEXT}


# What moves, and when.


async def test_an_operator_that_comes_to_know_two_keys_changes_nothing_of_a_shop_of_the_current_one(
    shop: RotatingShop,
) -> None:
    before = copy.deepcopy(shop.cluster.server.objects)
    store(shop, stored_keys(MASTER_KEY, THIRD_KEY))
    assert await shop.settle() is None
    assert shop.cluster.server.objects == before
    shop.cluster.restart()
    assert await shop.settle() is None
    assert shop.cluster.server.objects == before


async def test_a_shop_that_an_earlier_release_has_rotated_is_left_as_it_is_until_it_moves(shop: RotatingShop) -> None:
    """Its record has no ids of keys, and it is in the middle of a rotation."""
    shop.ask("all:first")
    await shop.reach("Use")
    await shop.settle()
    record = shop.cluster.server.objects["ConfigMap", "shop-rotation"]
    for kind, text in record["data"].items():
        stored = json.loads(text)
        record["data"][kind] = json.dumps({name: stored[name] for name in stored if name not in ("key", "otherKey")})
    shop.cluster.server.touch(record)
    before = copy.deepcopy(shop.cluster.server.objects)
    shop.cluster.restart()
    await shop.settle()
    assert shop.cluster.server.objects == before
    await move(shop)
    assert set(key_ids(shop).values()) == {NEXT}


async def test_a_new_shop_derives_from_the_current_key_alone(tmp_path: Path) -> None:
    shop = RotatingShop.new(tmp_path)
    shop.cluster.server.master_key = stored_keys(NEXT_KEY, MASTER_KEY)
    await shop.finish()
    assert set(key_ids(shop).values()) == {NEXT}
    assert shop.states() == {}


async def test_a_shop_that_was_rotated_before_moves_on_from_its_generations(shop: RotatingShop) -> None:
    shop.ask("all:first")
    await shop.finish()
    await move(shop)
    assert shop.states() == {kind: (2 if kind in REQUESTED else 1, "Done") for kind in RotationKind}
    assert set(key_ids(shop).values()) == {NEXT}


async def test_a_rotation_that_is_asked_for_waits_for_no_turn_and_moves_the_whole_shop(
    shop: RotatingShop,
) -> None:
    shop.cluster.reconciler.rotator.concurrency = 1
    shop.cluster.add_shop("other")["status"] = {"rotation": [{"name": "grpc", "generation": 0, "step": "Publish"}]}
    shop.ask("grpc:first")
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    await shop.finish()
    assert shop.states() == ALL_MOVED


async def test_a_shop_waits_for_its_turn_and_the_log_says_for_which(
    shop: RotatingShop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shop.cluster.reconciler.rotator.concurrency = 1
    other = shop.cluster.add_shop("other")
    other["status"] = {"rotation": [{"name": "signing", "generation": 0, "step": "Publish"}]}
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    for _ in range(3):
        assert await shop.settle() is not None
        shop.cluster.now += timedelta(minutes=10)
    assert (shop.states(), set(key_ids(shop).values())) == ({}, {FORMER})
    assert shop.cluster.condition("Rotating") == ("False", "RotationWaits")
    assert "another shop is being rotated" in shop.cluster.message("Rotating")
    assert "other/other" not in shop.cluster.message("Rotating"), "it may be of another tenant"
    assert caplog.text.count("the rotations of other/other end first") == 1
    assert former_key_shops() == 1

    other["status"]["rotation"][0]["step"] = "Use"
    shop.cluster.server.touch(other)
    await shop.finish()
    assert shop.states() == ALL_MOVED


@pytest.mark.parametrize(
    ("row", "counts"),
    [
        ({"name": "signing", "step": "Use"}, False),
        ({"name": "grpc", "step": "Use"}, True),
        ({"name": "signing", "step": "Publish"}, True),
        ({"name": "grpc", "step": "Done"}, False),
    ],
)
def test_a_shop_whose_former_tokens_are_still_accepted_lets_others_move(row: dict[str, str], counts: bool) -> None:
    assert is_rotating(platform_with({"rotation": [{"name": "cache", "step": "Done"}, row]})) is counts
    assert not is_rotating(platform_with({}))


def platform_with(status: Manifest, spec: Manifest | None = None, **metadata: object) -> Platform:
    named = {"name": "other", "namespace": "other", "uid": "other", "generation": 1, "resourceVersion": "1"}
    return observe_platform({"metadata": named | metadata, "spec": spec or {}, "status": status})


def with_condition(type_: str, status: str, reason: str) -> Manifest:
    return {"status": {"conditions": [{"type": type_, "status": status, "reason": reason, "message": ""}]}}


@pytest.mark.parametrize(
    "change",
    [
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"spec": {"mode": "Observe"}},
        {"spec": {"paused": True}},
        {"spec": {"hibernated": True}},
        {"status": {"mode": "Observe"}},
        with_condition("Hibernated", "True", "Hibernated"),
        {"annotations": {ANNOTATION_RESTORE: "night/uid-night/Restoring"}},
        with_condition("Rotating", "True", "RotationRefused"),
    ],
    ids=["deleting", "observed", "paused", "hibernated", "observed before", "waking", "closed", "refused"],
)
async def test_a_shop_whose_rotation_cannot_go_on_lets_others_move(shop: RotatingShop, change: Manifest) -> None:
    shop.cluster.reconciler.rotator.concurrency = 1
    other = shop.cluster.add_shop("other")
    other["status"] = {"rotation": [{"name": "grpc", "generation": 0, "step": "Publish"}]}
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    await shop.settle()
    assert shop.cluster.condition("Rotating") == ("False", "RotationWaits")

    other["status"] |= change.pop("status", {})
    other["spec"] |= change.pop("spec", {})
    other["metadata"] |= change
    shop.cluster.server.touch(other)
    await shop.settle()
    assert shop.states(), "its turn has come"
    await shop.finish()
    assert shop.states() == ALL_MOVED


def test_a_degraded_shop_is_waited_for_since_its_rotation_may_be_the_cause() -> None:
    degraded = with_condition("Degraded", "True", "ProgressDeadlineExceeded")["status"]
    assert is_rotating(platform_with(degraded | {"rotation": [{"name": "grpc", "step": "Publish"}]}))


@pytest.mark.parametrize(
    ("refused", "counts"),
    [
        ({"ConfigMap": ApiError(422, "Invalid", "no")}, False),
        ({"ConfigMap": ApiError(500, "InternalError", "no")}, True),
        ({PLATFORM.kind: ApiError(500, "InternalError", "no")}, True),
    ],
    ids=["not recorded", "perhaps recorded", "recorded and not in the status"],
)
async def test_a_shop_counts_from_the_record_of_its_rotation_until_its_status_shows_it(
    shop: RotatingShop, refused: dict[str, ApiError], counts: bool
) -> None:
    reconciler, others = shop.cluster.reconciler, PlatformKey("other", "other")
    reconciler.rotator.concurrency = 1
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    shop.cluster.server.refuse = refused
    for _ in range(2):
        with pytest.raises(ApiError):
            await shop.reconcile()
        assert bool(reconciler.rotator.rotated_before(others)) is counts

    shop.cluster.server.refuse = {}
    await shop.finish()
    assert not reconciler.rotator.rotated_before(others)


async def test_a_rotation_that_is_refused_in_the_middle_says_so(shop: RotatingShop) -> None:
    shop.ask("grpc:first")
    await shop.reach("Use")
    await shop.settle()
    secret = shop.cluster.server.objects["Secret", "shop-order-grpc"]
    del secret["metadata"]["annotations"][ANNOTATION_KEY_ID]
    shop.cluster.server.touch(secret)
    await shop.reconcile()
    assert shop.cluster.condition("Rotating") == ("True", "RotationRefused")
    assert "shop-order-grpc" in shop.cluster.message("Rotating")


async def test_a_swap_of_the_keys_moves_a_shop_back(shop: RotatingShop) -> None:
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    await shop.reach("Use")
    store(shop, stored_keys(MASTER_KEY, NEXT_KEY))
    await shop.settle()
    assert f"needs the former master key {NEXT} until" in shop.cluster.message("Rotating")
    await shop.finish()
    assert set(key_ids(shop).values()) == {FORMER}


async def test_a_secret_of_its_user_stops_its_kind_and_the_authority_and_the_former_key_stays_needed(
    shop: RotatingShop,
) -> None:
    secret = shop.cluster.server.objects["Secret", "shop-order-broker"]
    del secret["metadata"]["annotations"][ANNOTATION_KEY_ID]
    shop.cluster.server.touch(secret)
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    for _ in range(5):
        await shop.settle()
        shop.cluster.now += timedelta(days=4)
    assert shop.states() == dict.fromkeys(set(RotationKind) - {"broker", "authority"}, (1, "Done"))
    assert shop.cluster.condition("Rotating") == ("False", "RotationRefused")
    assert f"needs the former master key {FORMER}" in shop.cluster.message("Rotating")
    assert former_key_shops() == 1

    secret["metadata"]["annotations"][ANNOTATION_KEY_ID] = FORMER
    shop.cluster.server.touch(secret)
    await shop.finish()  # the authority is the only kind for which the pods of all services are replaced
    assert shop.states() == ALL_MOVED
    assert set(key_ids(shop).values()) == {NEXT}


async def test_a_secret_that_nothing_rotates_keeps_the_former_key_needed_and_is_named(shop: RotatingShop) -> None:
    external = {"provider": "external", "secretRef": {"name": "own"}}
    shop.cluster.spec({"cache": external})
    await shop.settle()
    retained = copy.deepcopy(shop.cluster.server.objects["Secret", "shop-redis"])
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    for _ in range(5):
        await shop.settle()
        shop.cluster.now += timedelta(days=4)
    assert retained["metadata"]["annotations"][ANNOTATION_KEY_ID] == FORMER
    assert "for shop-redis" in shop.cluster.message("Rotating")
    assert key_ids(shop)["shop-salt"] == FORMER
    for name in ("shop-redis", "shop-redis-tls"):
        shop.cluster.server.objects.pop(("Secret", name), None)
    await shop.settle()
    assert set(key_ids(shop).values()) == {NEXT}


EXTERNAL_CACHE = {"cache": {"provider": "external", "secretRef": {"name": "own"}}}


async def delete_cache_secrets(shop: RotatingShop) -> None:
    """Deletes the retained Secrets of a cache that became external, after all else of the shop has moved."""
    for _ in range(5):
        await shop.settle()
        shop.cluster.now += timedelta(days=4)
    for name in ("shop-redis", "shop-redis-tls"):
        del shop.cluster.server.objects["Secret", name]


async def test_an_operator_that_dies_after_it_has_written_the_base_leaves_no_kind_that_needs_the_former_key(
    shop: RotatingShop,
) -> None:
    shop.ask("all:first")
    await shop.finish()
    shop.ask("all:first", **EXTERNAL_CACHE)
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    await delete_cache_secrets(shop)
    shop.dies_after = lambda _, write: not shop.deaths and "ConfigMap shop-salt" in write
    await shop.settle()
    assert shop.deaths == 1
    assert set(key_ids(shop).values()) == {NEXT}


async def test_a_kind_that_moved_before_its_store_became_external_does_not_need_the_key_after_a_swap(
    shop: RotatingShop,
) -> None:
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    while (delay := await shop.settle()) and shop.states()["cache"] != (1, "Done"):
        shop.cluster.now += timedelta(seconds=delay)
    assert key_ids(shop)["shop-salt"] == FORMER, "the signing secret has not moved yet"
    shop.cluster.spec(EXTERNAL_CACHE)
    await shop.settle()
    store(shop, stored_keys(MASTER_KEY, NEXT_KEY))
    await delete_cache_secrets(shop)
    await shop.settle()
    assert set(key_ids(shop).values()) == {FORMER}


async def test_a_paused_shop_stays_with_its_key(shop: RotatingShop) -> None:
    shop.cluster.spec({"paused": True})
    store(shop, stored_keys(NEXT_KEY, MASTER_KEY))
    for _ in range(3):
        await shop.reconcile()
        shop.cluster.now += timedelta(days=1)
    assert (shop.states(), set(key_ids(shop).values())) == ({}, {FORMER})


# The Secret with the keys.


def test_the_secret_that_the_documentation_has_people_write_has_two_keys() -> None:
    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text().partition("## Rotate the master key")[2]
    written = textwrap.dedent(re.findall(r"<<END\n(.*?)\n +END", text, re.DOTALL)[0])
    keys = [base64.b64encode(key.secret).decode() for key in (NEXT_KEY, MASTER_KEY)]
    written = written.replace("$(openssl rand -base64 32)", keys[0]).replace("${former:?}", keys[1])
    stored = yaml.safe_load(written)
    assert stored["metadata"]["name"] == MASTER_KEY_NAME
    assert decode_keys(stored) == KeyRing(NEXT_KEY, MASTER_KEY)


@pytest.mark.parametrize("previous", ["", "c2hvcnQ=", "no base64!"])
async def test_a_former_key_that_could_be_guessed_is_no_key(shop: RotatingShop, previous: str) -> None:
    stored = stored_key(NEXT_KEY)
    shop.cluster.server.master_key = stored | {"data": stored["data"] | {"previous": previous}}
    shop.cluster.restart()
    before = copy.deepcopy(shop.objects())
    await shop.reconcile()
    assert shop.objects() == before
    assert shop.cluster.condition("Degraded") == ("True", "MasterKeyMissing")


async def test_a_key_that_is_lost_while_the_operator_runs_is_used_until_it_ends(
    shop: RotatingShop, caplog: pytest.LogCaptureFixture
) -> None:
    store(shop, None)
    before = shop.objects()
    del shop.cluster.server.objects["Secret", "shop-jwt"]
    await shop.settle()
    assert shop.objects() == before
    assert shop.cluster.server.master_key is None
    assert "Restore the Secret from its backup" in caplog.text


def test_the_repr_of_the_keys_hides_them() -> None:
    assert "nnn" not in repr(KeyRing(NEXT_KEY, MASTER_KEY))


def test_a_base_without_a_record_is_that_of_the_secrets(shop: RotatingShop) -> None:
    keys = KeyRing(NEXT_KEY, MASTER_KEY)
    secrets = [observe(one) for (kind, _), one in shop.cluster.server.objects.items() if kind == "Secret"]
    assert keys.for_shop(KEY, {one.id: one for one in secrets}).base == MASTER_KEY
    assert keys.for_shop(KEY, {}).base == NEXT_KEY
    assert (PLATFORM.kind, "shop") in shop.cluster.server.objects
