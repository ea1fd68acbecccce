"""The command: its settings, what it prints, and what a killed one leaves."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chassis.observability import logs
from chassis.settings import DatabaseSettings
from chassis_testing.waiting import eventually
from platform_backup import __main__ as command
from platform_backup.__main__ import main
from platform_backup.catalog import find_backup, list_backups, newest_backup, record_verification
from platform_backup.create import Shop, create_backup
from platform_backup.errors import DestinationFull, DestinationRefused
from platform_backup.manifest import Manifest
from platform_backup.settings import read_runtime_roles
from platform_backup.snapshots import connect


@pytest.fixture
def environment(shop: Shop, runtime: Mapping[str, DatabaseSettings], tmp_path: Path) -> dict[str, str]:
    """The environment of a pod that backs up the shop."""
    for folder, secrets in (("databases", shop.databases), ("roles", runtime)):
        for service, settings in secrets.items():
            _mount(settings, tmp_path / folder / service)
    return {
        **os.environ,
        "BACKUP_SHOP": shop.name,
        "BACKUP_DESTINATION": f"file://{tmp_path}/backups",
        "BACKUP_KEY": base64.b64encode(b"k" * 32).decode(),
        "BACKUP_DATABASES": f"{tmp_path}/databases",
        "BACKUP_RUNTIME_ROLES": f"{tmp_path}/roles",
        "BACKUP_POSTGRES_BIN": shop.tools.folder,
        "BACKUP_KEEP": "1",
    }


def _mount(settings: DatabaseSettings, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("db_host", "db_port", "db_user", "db_password", "db_name"):
        (folder / name.upper()).write_text(str(getattr(settings, name)))


async def start(environment: Mapping[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "platform_backup",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.fixture(autouse=True)
def _plain_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the log of this process as it is."""
    monkeypatch.setattr(logs, "configure", lambda *_: None)


@pytest.fixture
def answer(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """Runs a command in this process, and returns what it did."""

    def run(*arguments: str) -> Any:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        main(arguments)
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def test_a_service_without_a_runtime_role_has_an_empty_folder(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "roles/user").mkdir()

    assert sorted(read_runtime_roles(environment["BACKUP_RUNTIME_ROLES"])) == ["notification", "order", "product"]


def test_backups_are_created_listed_and_restored(shop: Shop, answer: Callable[..., Any]) -> None:
    first, second = answer("create"), answer("create")
    assert (first["deleted"], second["deleted"]) == ([], [first["id"]])

    assert answer("list") == [{"id": second["id"], "whole": True}]
    assert answer("restore", "--replace")["restored"] == list(shop.databases)
    assert answer("prune") == {"deleted": []}


def test_a_backup_from_the_future_neither_displaces_a_new_one_nor_is_chosen(
    shop: Shop, answer: Callable[..., Any]
) -> None:
    """Another node's clock was ahead, once by days and once by minutes."""
    ahead = asyncio.run(create_backup(shop, "a", lambda: datetime.now(UTC) + timedelta(days=400)))
    soon = asyncio.run(create_backup(shop, "b", lambda: datetime.now(UTC) + timedelta(minutes=30)))

    created = answer("create")

    assert created["deleted"] == []
    assert {backup["id"] for backup in answer("list")} == {created["id"], soon.id, ahead.id}
    assert answer("check")["id"] == soon.id, "half an hour is no error of a clock"


def test_a_backup_that_is_not_restorable_is_restored_only_by_its_id(
    shop: Shop, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    environment["BACKUP_KEEP"] = "2"
    good, broken = answer("create")["id"], answer("create")["id"]
    fail_verification(shop, broken)

    assert answer("check")["id"] == answer("restore", "--replace")["id"] == good
    assert answer("restore", broken, "--replace")["id"] == broken

    fail_verification(shop, good)
    for arguments in (["check"], ["restore", "--replace"]):
        with pytest.raises(SystemExit):
            answer(*arguments)
        said = f"the verification of {broken} has failed, the verification of {good} has failed. Name the one"
        assert said in capsys.readouterr().err


def test_a_backup_that_lacks_a_database_is_restored_only_in_part(
    shop: Shop, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A restore would leave that database at another time than the others."""
    databases = {service: one for service, one in shop.databases.items() if service != "product"}
    asyncio.run(create_backup(replace(shop, databases=databases), "a"))

    for arguments in (["check"], ["restore", "--replace"]):
        with pytest.raises(SystemExit):
            answer(*arguments)
        assert "has no database of product, which the shop has" in capsys.readouterr().err

    part = answer("restore", "--replace", "--only", "order")
    assert (part["restored"], "warning" in part) == (["order"], False)


def fail_verification(shop: Shop, backup: str) -> None:
    async def record() -> None:
        await record_verification(shop, await find_backup(shop, backup), datetime.now(UTC), "InvariantBroken: x")

    asyncio.run(record())


def test_the_backup_of_a_restore_is_looked_for_without_its_databases(
    environment: dict[str, str], answer: Callable[..., Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = answer("create")["id"]
    environment["BACKUP_DATABASES"] = "/missing"
    assert answer("check")["id"] == answer("check", made)["id"] == made

    (folder / made / "order.dump").write_bytes(b"cut off")
    with pytest.raises(SystemExit):
        answer("check", made)
    assert "BackupDamaged: " in (said := capsys.readouterr().err), said
    assert "order.dump is missing or cut off" in said
    environment["BACKUP_KEY"] = base64.b64encode(b"x" * 32).decode()
    with pytest.raises(SystemExit):
        answer("check", made)
    assert "WrongKey: " in capsys.readouterr().err


def test_a_manifest_names_the_release_that_has_written_it(
    environment: dict[str, str], answer: Callable[..., Any], folder: Path
) -> None:
    environment["BACKUP_VERSION"] = "0.1.0-0123456789ab"

    made = answer("create")["id"]

    assert json.loads((folder / made / "manifest.json").read_text())["tool_version"] == "0.1.0-0123456789ab"


def test_a_password_that_is_not_replaced_yet_is_the_former_one(answer: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "databases/order"
    (folder / "DB_PREVIOUS_PASSWORD").write_text((folder / "DB_PASSWORD").read_text())
    (folder / "DB_PASSWORD").write_text("the next one")

    assert answer("create")["id"]


def test_the_password_that_opens_a_database_comes_before_the_former_one(
    answer: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "databases/order/DB_PREVIOUS_PASSWORD").write_text("the former one")

    assert answer("create")["id"]


def test_the_termination_message_is_whole_however_many_backups_were_deleted(
    answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deleted = [f"20260101T000000.{number:06}Z-abcdef" for number in range(1000)]

    async def delete_many(*_: object) -> list[str]:
        return deleted

    monkeypatch.setattr(command, "prune", delete_many)
    monkeypatch.setattr(command, "TERMINATION_LOG", log := tmp_path / "termination-log")
    log.touch()

    assert answer("prune")["deleted"] == deleted
    assert json.loads(log.read_text()) == {"deleted": 1000}


def test_the_termination_message_of_a_long_error_is_whole(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(command, "TERMINATION_LOG", log := tmp_path / "termination-log")
    log.touch()

    async def fail(*_: object) -> list[str]:
        raise DestinationRefused("ü" * 5000)

    monkeypatch.setattr(command, "prune", fail)

    with pytest.raises(SystemExit):
        main(["prune"])

    assert len(log.read_bytes()) <= 4096
    assert json.loads(log.read_text())["reason"] == "DestinationRefused"


def test_a_backup_succeeds_if_old_ones_cannot_be_deleted(
    answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> list[str]:
        raise DestinationRefused("no right to delete")

    monkeypatch.setattr(command, "prune", refuse)

    created = answer("create")

    assert (created["deleted"], created["pruneFailed"]) == ([], "DestinationRefused: no right to delete")
    assert answer("list") == [{"id": created["id"], "whole": True}]


def test_a_full_destination_is_pruned_and_the_backup_tried_once_more(
    shop: Shop, environment: dict[str, str], answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for two backups, and a third one is asked for after the retention was lowered to one."""
    environment["BACKUP_KEEP"] = "2"
    first, second = answer("create"), answer("create")

    async def create_with_room_for_two(there: Shop, suffix: str) -> Manifest:
        if len(await list_backups(there)) > 1:
            raise DestinationFull("no room")
        return await create_backup(there, suffix)

    monkeypatch.setattr(command, "create_backup", create_with_room_for_two)
    with pytest.raises(SystemExit):
        answer("create")
    assert [backup["id"] for backup in answer("list")] == [first["id"], second["id"]], "both are to be kept"

    environment["BACKUP_KEEP"] = "1"
    third = answer("create")

    assert third["deleted"] == [first["id"], second["id"]]
    assert answer("list") == [{"id": third["id"], "whole": True}]


async def test_a_killed_backup_is_none(shop: Shop, environment: dict[str, str], tmp_path: Path) -> None:
    before = await create_backup(shop, "abcdef")
    async with connect("test", shop.databases["product"]) as sql:
        await sql.execute("BEGIN; LOCK TABLE inbox")
        process = await start(environment, "create")

        async def has_begun() -> bool:
            return len(list((tmp_path / "backups").rglob("*.dump"))) > len(shop.databases)

        await eventually(has_begun)
        process.kill()
        await process.wait()
        await sql.execute("COMMIT")

    assert await newest_backup(shop, datetime.now(UTC)) == before
    assert [backup.is_whole for backup in await list_backups(shop)] == [True, False]


@pytest.mark.parametrize(
    ("changes", "arguments", "status", "said"),
    [
        ({"BACKUP_KEY": "short"}, ["create"], 78, "BACKUP_KEY is malformed"),
        ({"BACKUP_SHOP_CREATED": "2026-01-31T03:00:00"}, ["list"], 78, "write a time with its zone"),
        ({"BACKUP_DESTINATION": "s3://bucket"}, ["create"], 78, "set BACKUP_S3_ACCESS_KEY_ID"),
        ({"BACKUP_DATABASES": "/missing"}, ["create"], 78, "SettingsWrong: /missing has no Secret of a database"),
        ({"BACKUP_DESTINATION": "s3://bucket/shops#1"}, ["list"], 78, "without # and ?"),
        ({"BACKUP_DESTINATION": "s3://bucket/shops?eu"}, ["list"], 78, "without # and ?"),
        ({"BACKUP_DESTINATION": "file:///missing"}, ["list"], 1, "DestinationMissing: the folder /missing"),
        ({}, ["restore", "20260101T000000Z-abcdef"], 1, "BackupNotFound: default/shop has no backup"),
        ({}, ["restore"], 1, "BackupNotFound: default/shop has no whole backup"),
        ({}, ["check", "20260101T000000Z-abcdef"], 1, "BackupNotFound: default/shop has no backup"),
        ({}, ["check"], 1, "BackupNotFound: default/shop has no whole backup"),
    ],
)
def test_a_failure_is_one_line(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    for name, value in {**environment, **changes}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        main(arguments)

    errors = capsys.readouterr().err.splitlines()
    assert (ended.value.code, len(errors)) == (status, 1)
    assert said in errors[0]
