"""Credentials rotate in steps at each of which all running pods understand each other, also if operators die."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rotation_harness import WRITES_OF_A_PASS, RotatingShop, each, of
from test_reconciler import KEY, Manifest

from platform_operator.api.conditions import RotationKind, RotationStep
from platform_operator.api.kinds import ANNOTATION_KEY_ID, LABEL_COMPONENT, PLATFORM, Kind, ObjectId
from platform_operator.api.spec import parse
from platform_operator.cache.observed import FINALIZER, ObservedObject, StoredData
from platform_operator.secrets import rotation
from platform_operator.secrets.rotation import (
    REQUESTED,
    Rotation,
    RotationRequest,
    dump_rotations,
    longest_token_lifetime,
    parse_request,
    read_rotations,
)

RECORD = ("ConfigMap", "shop-rotation")
ALL = REQUESTED


@pytest.fixture
async def shop(tmp_path: Path) -> RotatingShop:
    """A shop that was never rotated."""
    shop = RotatingShop.new(tmp_path)
    await shop.settle()
    shop.writes = shop.starts = 0
    return shop


async def test_all_credentials_are_replaced_and_no_pod_ever_refuses_another(shop: RotatingShop) -> None:
    before, roles = {pod.service: pod.env for pod in shop.pods}, dict(shop.roles)

    shop.ask("all:first")
    await shop.finish()

    assert shop.states() == dict.fromkeys(ALL, (1, "Done"))
    after = {pod.service: pod.env for pod in shop.pods}
    assert len(after) == len(shop.pods) == 8
    for service, env in after.items():
        secret = ("JWT_SECRET", "GRPC_TOKENS", "GRPC_CALLERS", "DB_USER", "DB_PASSWORD", "REDIS_URL", "RABBITMQ_URL")
        assert [name for name in secret if name in env and env[name] == before[service][name]] == []
    assert not {"JWT_SECRET_NEXT", "JWT_SECRET_PREVIOUS"} & after["user"].keys()
    assert [shop.roles[name] for name in roles] == [None] * 7, "the former roles cannot log in"
    assert shop.cluster.condition("Rotating") == ("False", "Rotated")
    assert shop.cluster.condition("Ready") == ("True", "AllReady")


async def test_the_admin_gets_the_password_of_the_secret_and_keeps_one_of_their_own(shop: RotatingShop) -> None:
    generated = shop.admin_password
    shop.ask("admin:first")
    await shop.finish()
    assert generated != shop.admin_password == shop.secret("admin")["ADMIN_PASSWORD"]
    assert set(shop.secret("admin")) == {"ADMIN_EMAIL", "ADMIN_PASSWORD"}
    shop.admin_password = "one of their own"
    shop.ask("admin:second")
    await shop.finish()
    assert (shop.admin_password, shop.states()) == ("one of their own", {"admin": (2, "Done")})


async def test_a_migration_gives_each_owner_its_next_password_and_another_shows_that_it_works(
    shop: RotatingShop,
) -> None:
    first = dict(shop.owners)
    shop.ask("owners:first")
    await shop.finish()
    assert shop.states() == {"owners": (1, "Done")}
    assert shop.owners.keys() == first.keys()
    for service, password in shop.owners.items():
        assert password != first[service]
        assert shop.proven[service] == password == shop.secret(f"{service}-db")["DB_PASSWORD"]
        assert "DB_PREVIOUS_PASSWORD" not in shop.secret(f"{service}-db")


async def test_the_former_password_of_an_owner_stays_until_its_migration_has_replaced_it(shop: RotatingShop) -> None:
    former = dict(shop.owners)
    shop.ask("owners:first")
    await shop.reach("Use")
    for _ in range(5):
        await shop.reconcile()
        shop.cluster.now += timedelta(hours=1)
    assert shop.states() == {"owners": (1, "Use")}, "no migration has completed"
    assert shop.owners == former
    assert {shop.secret(f"{service}-db")["DB_PREVIOUS_PASSWORD"] for service in former} == set(former.values())
    await shop.finish()
    assert shop.states() == {"owners": (1, "Done")}


async def test_a_shop_that_was_never_rotated_knows_nothing_of_rotations(shop: RotatingShop) -> None:
    assert RECORD not in shop.cluster.server.objects
    assert shop.rows == {}
    assert "Rotating" not in shop.cluster.conditions()
    assert {pod.mark for pod in shop.pods} == {""}


@pytest.mark.parametrize(
    ("kind", "starts"),
    [("signing", 3), ("grpc", 24), ("databases", 7), ("owners", 0), ("cache", 3), ("broker", 7), ("admin", 1)],
)
async def test_a_kind_replaces_only_the_pods_that_read_its_credentials(
    shop: RotatingShop, kind: str, starts: int
) -> None:
    shop.ask(f"{kind}:first")
    await shop.finish()
    assert (shop.states(), shop.starts) == ({kind: (1, "Done")}, starts)


async def test_a_name_is_followed_once_and_the_next_one_uses_the_first_role_again(shop: RotatingShop) -> None:
    first = dict(shop.roles)
    for request, generation in (("databases:1", 1), ("databases:1", 1), ("databases:2", 2)):
        shop.ask(request)
        await shop.finish()
        assert shop.states() == {"databases": (generation, "Done")}
    assert {name: password for name, password in shop.roles.items() if password} == {
        name: shop.roles[name] for name in first
    }
    assert all(shop.roles[name] != password for name, password in first.items())


# Operators that die, and what they find.


async def undisturbed(path: Path) -> RotatingShop:
    shop = RotatingShop.new(path)
    await shop.settle()
    shop.ask("all:first")
    await shop.finish()
    return shop


@pytest.mark.parametrize(
    "dies_after",
    [
        *(pytest.param(each(first), marks=pytest.mark.slow if first % 10 else ()) for first in range(WRITES_OF_A_PASS)),
        of("ConfigMap shop-rotation"),
        of("ConfigMap shop-applied"),
        of("shop status"),
        of("Secret shop-jwt"),
    ],
)
async def test_operators_that_die_after_a_write_leave_a_rotation_that_others_finish(
    tmp_path: Path, shop: RotatingShop, dies_after: Callable[[int, str], bool]
) -> None:
    shop.die_once_after(dies_after)
    shop.ask("all:first")
    await shop.finish()
    assert shop.deaths > 1
    assert shop.states() == dict.fromkeys(ALL, (1, "Done"))
    assert shop.objects() == (await undisturbed(tmp_path)).objects()


STEPS = ("Publish", "Use", "Retire", "Done")


@pytest.mark.parametrize("passes", [0, 1])
@pytest.mark.parametrize("step", STEPS)
async def test_a_lost_record_is_read_from_the_secrets(shop: RotatingShop, step: str, passes: int) -> None:
    shop.ask("all:first")
    await shop.reach(step)
    for _ in range(passes):
        await shop.reconcile()
    del shop.cluster.server.objects[RECORD]
    await shop.finish()
    assert {step for _, step in shop.states().values()} == {"Done"}
    assert min(generation for generation, _ in shop.states().values()) >= 1, "no generation is used again"


@pytest.mark.parametrize("step", STEPS)
async def test_a_lost_secret_comes_back_as_it_was_in_its_step(shop: RotatingShop, step: str) -> None:
    shop.ask("grpc:first")
    await shop.reach(step)
    await shop.reconcile()
    before = shop.objects()
    del shop.cluster.server.objects["Secret", "shop-order-grpc"]
    await shop.reconcile()
    assert shop.objects() == before


async def test_a_changed_label_of_the_record_is_restored(shop: RotatingShop) -> None:
    shop.ask("all:first")
    await shop.finish()
    record = shop.cluster.server.objects[RECORD]
    before = dict(record["metadata"]["labels"])
    record["metadata"]["labels"][LABEL_COMPONENT] = "changed"
    await shop.reconcile()
    assert shop.cluster.server.objects[RECORD]["metadata"]["labels"] == before
    await shop.reconcile()
    assert shop.cluster.server.writes == []


async def test_the_record_is_written_only_over_the_version_that_was_read(shop: RotatingShop) -> None:
    shop.ask("grpc:first")
    await shop.reach("Publish")
    apply, sent = shop.cluster.server.apply, []

    async def spy(kind: Kind, namespace: str, manifest: Manifest, *more: Any, **named: Any) -> Manifest:
        if manifest["metadata"]["name"] == "shop-rotation":
            stored = shop.cluster.server.objects[RECORD]["metadata"]
            sent.append((manifest["metadata"].get("resourceVersion"), stored["resourceVersion"]))
        return await apply(kind, namespace, manifest, *more, **named)

    shop.cluster.server.apply = spy  # type: ignore[method-assign]
    await shop.finish()
    assert sent
    assert [version for version, _ in sent] == [version for _, version in sent]


# What stops a rotation.


async def test_a_rotation_waits_for_a_shop_that_is_not_ready(shop: RotatingShop) -> None:
    shop.ask("grpc:first")
    await shop.reach("Publish")
    for _ in range(3):
        await shop.reconcile()
        shop.cluster.now += timedelta(days=1)
    assert shop.states() == {"grpc": (0, "Publish")}
    assert "the next one comes when the shop is Ready" in shop.cluster.message("Rotating")
    await shop.finish()
    assert shop.states() == {"grpc": (1, "Done")}


async def test_a_paused_platform_is_not_rotated(shop: RotatingShop) -> None:
    shop.ask("all:first", paused=True)
    await shop.finish()
    assert (shop.states(), RECORD in shop.cluster.server.objects) == ({}, False)


async def test_secrets_that_the_operator_did_not_derive_stop_their_kind_alone(shop: RotatingShop) -> None:
    secret = shop.cluster.server.objects["Secret", "shop-order-grpc"]
    del secret["metadata"]["annotations"][ANNOTATION_KEY_ID]
    shop.cluster.server.touch(secret)
    shop.ask("all:first")
    await shop.finish()
    assert shop.states() == dict.fromkeys(set(ALL) - {"grpc"}, (1, "Done"))
    assert shop.cluster.condition("Rotating") == ("False", "RotationRefused")
    assert "the operator did not derive shop-order-grpc." in shop.cluster.message("Rotating")


async def test_what_earlier_services_do_not_understand_waits_for_the_version_of_the_operator(
    shop: RotatingShop,
) -> None:
    shop.ask("broker:first", version="0.9")
    await shop.finish()
    assert shop.states() == {}
    assert "rotated only in a shop that runs version 1, that of the operator" in shop.cluster.message("Rotating")
    shop.ask("broker:first")
    await shop.finish()
    assert shop.states() == {"broker": (1, "Done")}


async def test_a_config_map_of_another_under_the_name_of_the_record_stays(shop: RotatingShop) -> None:
    foreign = {"kind": "ConfigMap", "metadata": {"name": "shop-rotation", "namespace": "shop", "uid": "x"}}
    shop.cluster.server.objects[RECORD] = foreign
    shop.cluster.server.touch(foreign)
    shop.ask("all:first")
    await shop.finish()
    assert shop.cluster.server.objects[RECORD] is foreign
    assert shop.states() == {}
    assert "ConfigMap shop-rotation has the name of the record" in shop.cluster.message("Rotating")


@pytest.mark.parametrize("value", ["all", "everything:1", "all:", "grpc:a b", f"grpc:{'x' * 64}"])
async def test_a_malformed_request_is_refused_with_what_to_write(shop: RotatingShop, value: str) -> None:
    shop.ask(value)
    await shop.finish()
    assert shop.states() == {}
    assert shop.cluster.condition("Rotating") == ("False", "RotationRefused")
    assert shop.cluster.message("Rotating").endswith("such as all:2026-11.")


def test_external_stores_are_left_to_their_owners() -> None:
    external = {"provider": "external"}
    named = {store: external | {"secretRef": {"name": store}} for store in ("cache", "broker")}
    spec = parse({"databases": external | {"external": {}}, **named})
    assert parse_request("all:1", spec).kinds == {RotationKind.SIGNING, RotationKind.GRPC, RotationKind.ADMIN}
    for kind in ("databases", "owners", "cache", "broker"):
        assert parse_request(f"{kind}:1", spec).problem.startswith(f"{kind}: external stores are not rotated")


# When it begins and ends.


async def test_a_schedule_rotates_what_is_older_than_it_says(shop: RotatingShop) -> None:
    created = shop.cluster.now
    shop.cluster.spec({"rotation": {"everyDays": 30}}, creationTimestamp=created.isoformat())
    for days, generation in ((29, 0), (31, 1), (60, 1), (70, 2)):
        shop.cluster.now = max(shop.cluster.now, created + timedelta(days=days))
        await shop.finish()
        assert {name: state[0] for name, state in shop.states().items()} == (
            dict.fromkeys(ALL, generation) if generation else {}
        )


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 259_200),
        ({"settings": {"user": {"verificationTokenSeconds": 60}}}, 3600),
        ({"settings": {"user": {"verificationTokenSeconds": 2_592_000}}}, 2_592_000),
        ({"services": {"user": {"env": {"RESET_TOKEN_SECONDS": "300000"}}}}, 300_000),
    ],
)
def test_the_former_signing_secret_is_accepted_as_long_as_its_tokens_live(
    spec: dict[str, object], seconds: int
) -> None:
    assert longest_token_lifetime(parse(spec)) == timedelta(seconds=seconds)


async def test_the_record_goes_with_a_platform_that_deletes_its_credentials(shop: RotatingShop) -> None:
    shop.ask("grpc:first", deletionPolicy="Delete")
    await shop.finish()
    platform = shop.cluster.server.objects[PLATFORM.kind, "shop"]
    platform["metadata"] |= {"finalizers": [FINALIZER], "deletionTimestamp": shop.cluster.now.isoformat()}
    shop.cluster.server.touch(platform)
    await shop.reconcile()
    left = [name for kind, name in shop.cluster.server.objects if kind == "Secret" or name == RECORD[1]]
    assert left == []


async def test_a_request_that_stays_rotates_no_kind_that_a_newer_operator_knows(
    shop: RotatingShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse, older = rotation.parse_request, frozenset(RotationKind) - {RotationKind.GRPC}
    with monkeypatch.context() as earlier_release:
        earlier_release.setattr(rotation, "parse_request", lambda *asked: _limited(parse(*asked), older))
        shop.ask("all:first")
        await shop.finish()
    assert shop.states() == {kind: (1, "Done") for kind in ALL if kind is not RotationKind.GRPC}
    shop.cluster.restart()
    shop.writes = 0
    await shop.finish()
    assert ("grpc" in shop.states(), shop.writes) == (False, 0)
    shop.ask("all:second")
    await shop.finish()
    assert shop.states() == dict.fromkeys(ALL, (2, "Done")) | {"grpc": (1, "Done")}


def _limited(request: RotationRequest, kinds: frozenset[RotationKind]) -> RotationRequest:
    return replace(request, kinds=request.kinds & kinds)


async def test_a_request_that_an_earlier_release_has_followed_is_not_followed_again(shop: RotatingShop) -> None:
    shop.ask("all:first")
    await shop.finish()
    record = shop.cluster.server.objects[RECORD]["data"]
    for kind, text in record.items():
        record[kind] = json.dumps({name: value for name, value in json.loads(text).items() if name != "asked"})
    shop.cluster.restart()
    await shop.finish()
    assert shop.states() == dict.fromkeys(ALL, (1, "Done"))
    assert all("asked" in json.loads(text) for text in shop.cluster.server.objects[RECORD]["data"].values())


def test_a_record_that_was_changed_by_hand_counts_as_lost() -> None:
    assert read_rotations(KEY, {}) == {kind: Rotation() for kind in RotationKind}
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rotation = Rotation(3, RotationStep.USE, at, at, "all:x", at)
    stored = dump_rotations({RotationKind.GRPC: rotation, RotationKind.SIGNING: Rotation()})
    assert set(stored) == {"grpc"}
    for text in ("", "{}", "[]", stored["grpc"].replace("Use", "Other")):
        assert _rotation_of(text) == Rotation()
    assert _rotation_of(stored["grpc"]) == rotation


def _rotation_of(text: str) -> Rotation:
    identity = ObjectId(*RECORD)
    seen = ObservedObject(identity, "u", 1, "fields", "", False, StoredData({"grpc": text}, {}, {}, ()))
    return read_rotations(KEY, {identity: seen})[RotationKind.GRPC]
