"""A new platform of an old name gets new credentials, unless something that was derived for the old one is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from test_reconciler import MASTER_KEY, NOW, VOLUME, FakeCluster, Manifest, delete_platform

from platform_operator.api.kinds import (
    ANNOTATION_KEY_ID,
    ANNOTATION_SALT,
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    PLATFORM,
    Kind,
)
from platform_operator.errors import ApiError
from platform_operator.secrets.salt import SaltRecord, choose_salt, new_salt

RECORD = ("ConfigMap", "shop-salt")
SECRETS = {"shop-order-db", "shop-jwt", "shop-ca", "shop-redis", "shop-user-grpc"}


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    """A cluster in which each salt is another."""
    cluster, numbers = FakeCluster(tmp_path), count(1)
    cluster.new_salt = lambda: f"{next(numbers):032x}"  # type: ignore[method-assign]
    cluster.restart()
    return cluster


def passwords(cluster: FakeCluster) -> dict[str, Manifest]:
    """Returns the data of the derived Secrets."""
    return {name: one["data"] for (kind, name), one in cluster.server.objects.items() if kind == "Secret"}


def salts(cluster: FakeCluster) -> set[str]:
    """Returns the salts that the Secrets name."""
    objects = cluster.server.objects.items()
    return {one["metadata"]["annotations"].get(ANNOTATION_SALT, "") for (kind, _), one in objects if kind == "Secret"}


async def delete(cluster: FakeCluster, policy: str) -> None:
    """Deletes the platform with its volume, and has the garbage collector delete what it owns."""
    delete_platform(cluster, {"deletionPolicy": policy})
    await cluster.reconcile()
    cluster.server.objects.pop((PLATFORM.kind, "shop"), None)
    for identity, one in list(cluster.server.objects.items()):
        if one["metadata"].get("ownerReferences") or identity[0] not in ("Secret", "ConfigMap"):
            del cluster.server.objects[identity]


async def create(cluster: FakeCluster, uid: str, policy: str = "Delete") -> None:
    cluster.restart()
    cluster.spec({"deletionPolicy": policy}, uid=uid, creationTimestamp=NOW.isoformat())
    await cluster.converge()


@pytest.mark.parametrize(
    ("policy", "is_left", "keeps"),
    [
        ("Delete", "nothing", False),
        ("Retain", "all", True),
        ("Retain", "Secrets", True),
        ("Retain", "the volume", True),
        ("Retain", "the record", False),
    ],
)
async def test_a_new_platform_of_an_old_name_has_its_credentials_only_with_its_data(
    cluster: FakeCluster, policy: str, is_left: str, keeps: bool
) -> None:
    await create(cluster, "first", policy)
    before = passwords(cluster)
    cluster.server.volumes = [VOLUME]
    await delete(cluster, policy)
    assert (RECORD in cluster.server.objects) is (policy == "Retain")
    if is_left not in ("all", "the volume"):
        cluster.server.volumes = []
    if is_left not in ("all", "Secrets"):
        for name in before:
            cluster.server.objects.pop(("Secret", name), None)
    if is_left == "Secrets":
        cluster.server.objects.pop(RECORD)

    await create(cluster, "second", policy)

    after = passwords(cluster)
    assert after.keys() == before.keys() >= SECRETS
    assert {name for name in SECRETS if after[name] == before[name]} == (SECRETS if keeps else set())
    assert cluster.server.objects[RECORD]["data"]["platform"] == "second"


async def test_a_volume_that_is_being_deleted_is_no_data(cluster: FakeCluster) -> None:
    await create(cluster, "first", "Retain")
    before = passwords(cluster)
    await delete(cluster, "Retain")
    for name in before:
        del cluster.server.objects["Secret", name]
    ending = {"metadata": VOLUME["metadata"] | {"deletionTimestamp": NOW.isoformat()}}
    cluster.server.volumes = [ending]
    await create(cluster, "second")
    assert passwords(cluster)["shop-order-db"] != before["shop-order-db"]


async def test_a_shop_that_is_older_than_salts_keeps_its_credentials_without_a_write_to_them(
    cluster: FakeCluster,
) -> None:
    cluster.new_salt = lambda: ""  # type: ignore[method-assign]
    await create(cluster, "p1")
    old = passwords(cluster)
    del cluster.server.objects[RECORD]  # as the release before left it
    cluster.new_salt = new_salt  # type: ignore[method-assign]
    cluster.restart()

    await cluster.reconcile()

    assert [one for one in cluster.server.writes if not one.endswith("status")] == ["apply ConfigMap shop-salt"]
    assert (passwords(cluster), salts(cluster)) == (old, {""})
    assert cluster.server.objects[RECORD]["data"] == {"salt": "", "platform": "p1"}
    await cluster.reconcile()
    assert cluster.server.writes == []

    for name in old:
        del cluster.server.objects["Secret", name]
    await cluster.reconcile()
    assert passwords(cluster) == old


async def test_an_old_shop_that_lost_its_secrets_before_the_upgrade_keeps_the_passwords_of_its_volumes(
    cluster: FakeCluster,
) -> None:
    cluster.new_salt = lambda: ""  # type: ignore[method-assign]
    await create(cluster, "p1")
    old = passwords(cluster)
    for identity in (RECORD, *(("Secret", name) for name in old)):
        del cluster.server.objects[identity]
    cluster.server.volumes = [VOLUME]
    cluster.new_salt = new_salt  # type: ignore[method-assign]
    cluster.restart()
    await cluster.reconcile()
    assert passwords(cluster) == old


@pytest.mark.parametrize(
    "loss",
    ["the record", "the Secrets", "all but the status", "a changed record", "a malformed record", "a changed mark"],
)
async def test_what_is_lost_or_changed_comes_back_from_what_is_left(cluster: FakeCluster, loss: str) -> None:
    await create(cluster, "p1")
    before, record = passwords(cluster), dict(cluster.server.objects[RECORD]["data"])
    match loss:
        case "the record":
            del cluster.server.objects[RECORD]
        case "the Secrets":
            for name in before:
                del cluster.server.objects["Secret", name]
        case "all but the status":
            del cluster.server.objects[RECORD]
            for name in before:
                del cluster.server.objects["Secret", name]
        case "a changed record":
            cluster.server.objects[RECORD]["data"]["salt"] = "f" * 32
        case "a malformed record":
            cluster.server.objects[RECORD]["data"]["salt"] = "none"
        case "a changed mark":
            cluster.server.objects["Secret", "shop-jwt"]["metadata"]["annotations"][ANNOTATION_SALT] = "f" * 32
    cluster.restart()
    await cluster.reconcile()
    assert (passwords(cluster), cluster.server.objects[RECORD]["data"]) == (before, record)


@pytest.mark.parametrize("label", [LABEL_COMPONENT, LABEL_MANAGED_BY])
async def test_a_changed_label_of_the_record_is_restored(cluster: FakeCluster, label: str) -> None:
    await create(cluster, "p1")
    before = dict(cluster.server.objects[RECORD]["metadata"]["labels"])
    cluster.server.objects[RECORD]["metadata"]["labels"][label] = "changed"
    cluster.restart()
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("False", "Healthy")
    assert cluster.server.objects[RECORD]["metadata"]["labels"] == before


async def test_a_record_that_a_backup_has_restored_is_the_shops(cluster: FakeCluster) -> None:
    await create(cluster, "first", "Retain")
    before = passwords(cluster)
    cluster.server.volumes = [VOLUME]
    await delete(cluster, "Retain")
    for name in before:
        del cluster.server.objects["Secret", name]
    del cluster.server.objects[RECORD]["metadata"]["managedFields"]
    await create(cluster, "second", "Retain")
    assert passwords(cluster)["shop-order-db"] == before["shop-order-db"]


async def test_the_record_is_written_before_the_first_secret_and_names_the_master_key(cluster: FakeCluster) -> None:
    await cluster.reconcile()
    written = [one for one in cluster.server.writes if "ConfigMap" in one or "Secret" in one]
    assert written[0] == "apply ConfigMap shop-salt"
    assert ANNOTATION_KEY_ID in cluster.server.objects[RECORD]["metadata"]["annotations"]


async def test_no_secret_is_written_if_the_record_is_not(cluster: FakeCluster) -> None:
    cluster.server.refuse["ConfigMap"] = ApiError(500, "InternalError", "no")
    with pytest.raises(ApiError):
        await cluster.reconcile()
    assert passwords(cluster) == {}


async def test_operators_that_die_after_any_write_use_one_salt(cluster: FakeCluster) -> None:
    """Each operator would make another salt: a Secret of a salt that no record has would show."""
    for number in range(60):
        cluster.server.objects = {one: cluster.server.objects[one] for one in ((PLATFORM.kind, "shop"),)}
        cluster.restart()
        apply = cluster.server.apply
        cluster.server.apply = _dying(apply, number)  # type: ignore[method-assign]
        try:
            await cluster.reconcile()
        except Killed:
            assert len(salts(cluster)) <= 1
            recorded = cluster.server.objects.get(RECORD, {"data": {"salt": ""}})["data"]["salt"]
            assert salts(cluster) <= {recorded}
        else:
            assert number > len(SECRETS)
            return
        finally:
            cluster.server.apply = apply  # type: ignore[method-assign]
        cluster.restart()
        await cluster.reconcile()
        assert salts(cluster) == {cluster.server.objects[RECORD]["data"]["salt"]}
    pytest.fail("the pass does not end")


class Killed(BaseException):
    """The operator's process has died."""


def _dying(call: Callable[..., Any], number: int) -> Callable[..., Any]:
    """Makes the write of that number the last one of the process."""
    numbers = count()

    async def apply(kind: Kind, *arguments: Any, **named: Any) -> Any:
        current = next(numbers)
        if current > number:
            raise Killed
        answer = await call(kind, *arguments, **named)
        if current == number:
            raise Killed
        return answer

    return apply


async def test_a_config_map_of_another_with_the_name_of_the_record_is_named_and_nothing_is_derived(
    cluster: FakeCluster,
) -> None:
    foreign = {"kind": "ConfigMap", "metadata": {"name": "shop-salt", "namespace": "shop", "uid": "x"}}
    cluster.server.objects[RECORD] = foreign | {"data": {"salt": "f" * 32}}
    cluster.server.touch(cluster.server.objects[RECORD])
    await cluster.reconcile()
    assert "ConfigMap shop-salt" in cluster.message("Ready")
    assert passwords(cluster) == {}


async def test_a_platform_that_is_only_observed_records_no_salt(cluster: FakeCluster) -> None:
    cluster.spec({"mode": "Observe"})
    await cluster.reconcile()
    assert RECORD not in cluster.server.objects


@pytest.mark.parametrize(
    ("record", "secrets", "has_volumes", "chosen"),
    [
        (None, {}, False, "new"),
        (None, {}, True, ""),
        (None, {"": 40}, False, ""),
        (None, {"a": 40, "b": 1}, False, "a"),
        (SaltRecord("a", "own"), {}, False, "a"),
        (SaltRecord("a", "other"), {}, False, "new"),
        (SaltRecord("a", "other"), {}, True, "a"),
        (SaltRecord("a", "other"), {"a": 1, "b": 2}, False, "a"),
        (SaltRecord("a", "own"), {"b": 1}, True, "b"),
    ],
)
def test_the_salt_is_that_of_what_is_left(
    record: SaltRecord | None, secrets: dict[str, int], has_volumes: bool, chosen: str
) -> None:
    assert choose_salt(record, Counter(secrets), "own", reported="", has_volumes=has_volumes, new="new") == chosen
    if chosen in ("", "new") and not secrets:
        known = choose_salt(record, Counter(secrets), "own", reported="r", has_volumes=has_volumes, new="new")
        assert known == "r"


async def test_an_operator_of_an_earlier_release_takes_salted_secrets_for_those_of_another_key(
    cluster: FakeCluster,
) -> None:
    """It compares the id with that of the master key, and would write the Secrets again without the salt."""
    await create(cluster, "p1")
    derived = [one for (kind, _), one in cluster.server.objects.items() if kind in ("Secret", "ConfigMap")]
    ids = {one["metadata"]["annotations"].get(ANNOTATION_KEY_ID, "") for one in derived}
    assert ids - {""} == {f"{MASTER_KEY.id}-salted"}
    assert {MASTER_KEY.id, f"{MASTER_KEY.id}-salted"} == MASTER_KEY.ids


def test_no_two_salts_are_the_same() -> None:
    assert len({new_salt() for _ in range(100)}) == 100
