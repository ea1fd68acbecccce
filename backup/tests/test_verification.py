"""A verification restores a backup into a server of its own, and says what it lacks, or which invariant it violates."""

import asyncio
import base64
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from chassis.database.invariants import Invariant, load_invariants
from chassis.database.migrations import migrate
from chassis.settings import DatabaseSettings
from chassis_testing.waiting import eventually
from obstore.store import LocalStore
from platform_backup import restore as restoring
from platform_backup import verification
from platform_backup.catalog import list_backups, prune, record_verification
from platform_backup.create import Shop, create_backup
from platform_backup.destination import Destination
from platform_backup.encryption import BackupKey
from platform_backup.errors import (
    BackupDamaged,
    BackupError,
    BackupNotFound,
    BackupNotRestorable,
    DatabaseFailed,
    DatabaseUnreachable,
    InvariantBroken,
    PostgresToolsTooOld,
    RestoreInterrupted,
    ScratchServerFailed,
)
from platform_backup.manifest import Manifest
from platform_backup.postgres_tools import PostgresTools, Program
from platform_backup.restore import restore_dumps
from platform_backup.retention import Retention
from platform_backup.scratch_server import ScratchServer
from platform_backup.snapshots import connect
from platform_backup.verification import verify_backup

KEY = BackupKey(b"k" * 32)
SERVICES = ("notification", "payment", "product")
INVARIANTS = {service: load_invariants(f"{service}_service") for service in SERVICES}
NOW = datetime.now(UTC)
_AS_A_USER = '#!/bin/sh\nexec unshare --user --map-user=1000 --map-group=1000 {program} "$@"\n'
"""PostgreSQL refuses to run as root: here it is root by another name, with its rights to the files of the test."""
_WITHOUT_ZSTD = """#!/bin/sh
for argument do
  shift
  case $argument in --compress=zstd:*) argument=--compress=3 ;; esac
  set -- "$@" "$argument"
done
exec {program} "$@"
"""


@pytest.fixture(scope="session")
def server_tools(tmp_path_factory: pytest.TempPathFactory) -> PostgresTools:
    """The newest PostgreSQL server of this machine, with the client programs of its version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    assert found, "these tests start servers: install the package postgresql"
    folder = tmp_path_factory.mktemp("server")
    is_old = int(found[-1].parts[-3]) < 16
    for name in ("pg_dump", "pg_restore", "psql", "initdb", "pg_ctl"):
        program, own = found[-1].parent / name, folder / name
        if name in ("initdb", "pg_ctl") and os.geteuid() == 0:
            own.write_text(_AS_A_USER.format(program=program))
        elif name == "pg_dump" and is_old:
            own.write_text(_WITHOUT_ZSTD.format(program=program))
        else:
            own.symlink_to(program)
            continue
        own.chmod(0o755)
    return PostgresTools(str(folder))


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder with a short path, as the path of a socket has to be."""
    with tempfile.TemporaryDirectory(prefix="backup-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
async def databases(server_tools: PostgresTools, short_folder: Path) -> AsyncIterator[DatabaseSettings]:
    """The server of the shop, with a migrated template of each database."""
    (short_folder / "shop").mkdir()
    async with ScratchServer(server_tools, short_folder / "shop").run() as login, connect("test", login) as sql:
        for service in SERVICES:
            await sql.execute(f"CREATE DATABASE {service}_template")
            await migrate(f"{service}_service", login.model_copy(update={"db_name": f"{service}_template"}))
        yield login


@pytest.fixture
async def shop(databases: DatabaseSettings, server_tools: PostgresTools, tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop whose backups are in a folder."""
    (tmp_path / "backups").mkdir()
    async with AsyncExitStack() as stack:
        own = {service: await stack.enter_async_context(copied(databases, service)) for service in SERVICES}
        destination = Destination(LocalStore(tmp_path / "backups"), "the folder")
        yield Shop("default/shop", own, KEY, destination, server_tools)


@asynccontextmanager
async def copied(server: DatabaseSettings, service: str) -> AsyncIterator[DatabaseSettings]:
    name = f"{service}_{uuid4().hex}"
    async with connect("test", server) as sql:
        await sql.execute(f"CREATE DATABASE {name} TEMPLATE {service}_template")
        yield server.model_copy(update={"db_name": name})
        await sql.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def scratch(server_tools: PostgresTools, short_folder: Path) -> ScratchServer:
    folder = short_folder / "scratch"
    folder.mkdir(exist_ok=True)
    return ScratchServer(server_tools, folder)


async def verify(shop: Shop, manifest: Manifest, scratch: ScratchServer) -> dict[str, int]:
    try:
        return await verify_backup(shop, manifest, shop.databases, INVARIANTS, scratch, NOW)
    finally:
        assert not (scratch.parent / "verify").exists(), "the server was not removed"


async def restorable(shop: Shop) -> list[bool | None]:
    return [backup.is_restorable for backup in await list_backups(shop)]


async def pay(shop: Shop, order: UUID, *, status: str = "completed", next_check_at: datetime | None = None) -> None:
    """Stores a payment, also one that the database would refuse."""
    captured = 1000 if status == "completed" else 0
    async with connect("test", shop.databases["payment"]) as sql:
        await sql.execute("DROP INDEX IF EXISTS one_live_payment_per_order")
        await sql.execute("INSERT INTO orders (id) VALUES ($1) ON CONFLICT DO NOTHING", order)
        await sql.execute(
            "INSERT INTO payments (id, order_id, buyer_id, amount, currency, provider, status, captured, next_check_at,"
            " created_at, updated_at) VALUES ($1, $2, 1, 1000, 'EUR', 'simulated', $3, $4, $5, now(), now())",
            uuid4(),
            order,
            status,
            captured,
            next_check_at,
        )


async def test_a_whole_backup_is_restored_and_its_invariants_hold(shop: Shop, scratch: ScratchServer) -> None:
    manifest = await create_backup(shop, "abcdef")
    assert await restorable(shop) == [None]

    checked = await verify(shop, manifest, scratch)

    assert checked == {service: len(INVARIANTS[service]) for service in SERVICES}
    assert all(checked.values())
    assert await restorable(shop) == [True]


async def test_two_charges_of_an_order_are_named(shop: Shop, scratch: ScratchServer) -> None:
    order = uuid4()
    await pay(shop, order)
    await pay(shop, order)
    manifest = await create_backup(shop, "abcdef")

    with pytest.raises(InvariantBroken, match=r"violates one_live_payment_per_order of payment \(1 row\)"):
        await verify(shop, manifest, scratch)

    assert await restorable(shop) == [False]


async def test_invariants_are_those_of_the_time_of_the_backup(shop: Shop, scratch: ScratchServer) -> None:
    """A payment that was to be checked a moment after the backup is not overdue because the backup is old."""
    await pay(shop, uuid4(), status="processing", next_check_at=datetime.now(UTC) + timedelta(seconds=1))
    manifest = await create_backup(shop, "abcdef")
    week = timedelta(days=7)
    entries = manifest.databases.items()
    later = {service: one.model_copy(update={"snapshot_at": one.snapshot_at + week}) for service, one in entries}
    a_week_later = manifest.model_copy(update={"databases": later})

    with pytest.raises(InvariantBroken, match="open_payments_have_a_next_check of payment"):
        await verify(shop, a_week_later, scratch)
    assert await verify(shop, manifest, scratch)
    assert await restorable(shop) == [True], "the last verification counts"


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_backup_that_is_deleted_while_it_is_verified_has_no_result(
    shop: Shop, scratch: ScratchServer, monkeypatch: pytest.MonkeyPatch, *, is_read: bool
) -> None:
    manifest = await create_backup(shop, "abcdef")

    async def delete_and_restore(*arguments: Any) -> None:
        if is_read:
            await restore_dumps(*arguments)
        for path in await shop.destination.list(f"{shop.name}/{manifest.id}/"):
            await shop.destination.delete(path)
        if not is_read:
            await restore_dumps(*arguments)

    monkeypatch.setattr(verification, "restore_dumps", delete_and_restore)
    one = manifest.model_copy(update={"databases": {"product": manifest.databases["product"]}})
    with pytest.raises(BackupNotFound, match="was deleted while it was verified"):
        await verify_backup(shop, one, ["product"], INVARIANTS, scratch, NOW)

    assert await list_backups(shop) == []


@pytest.mark.parametrize("damage", ["changed", "missing", "cut off"])
async def test_a_damaged_dump_is_named(shop: Shop, scratch: ScratchServer, tmp_path: Path, damage: str) -> None:
    manifest = await create_backup(shop, "abcdef")
    file = tmp_path / "backups/default/shop" / manifest.id / "product.dump"
    content = file.read_bytes()
    match damage:
        case "changed":
            file.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
        case "missing":
            file.unlink()
        case _:
            file.write_bytes(content[:-100])

    with pytest.raises(BackupDamaged, match=r"product\.dump"):
        await verify(shop, manifest, scratch)

    assert await restorable(shop) == [False]


async def test_a_database_that_the_backup_lacks_is_named(shop: Shop, scratch: ScratchServer) -> None:
    databases = {service: one for service, one in shop.databases.items() if service != "payment"}
    manifest = await create_backup(replace(shop, databases=databases), "abcdef")

    with pytest.raises(BackupNotRestorable, match="has no database of payment, which the shop has"):
        await verify(shop, manifest, scratch)

    assert await restorable(shop) == [False]


async def test_a_dump_that_postgresql_refuses_is_named(shop: Shop, scratch: ScratchServer) -> None:
    """Its digest is right: only a restore finds it."""
    async with connect("test", shop.databases["product"]) as sql:
        await sql.execute("CREATE TABLE codes (code text CHECK (code ~ '^[A-Z]')); INSERT INTO codes VALUES ('A')")
        await sql.execute("CREATE FUNCTION holds(text) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
        await sql.execute("ALTER TABLE codes ADD CHECK (holds(code))")
        await sql.execute("CREATE OR REPLACE FUNCTION holds(text) RETURNS boolean LANGUAGE sql AS 'SELECT false'")
    manifest = await create_backup(shop, "abcdef")

    with pytest.raises(BackupNotRestorable, match=r"cannot be restored: the database of product: .*check constraint"):
        await verify(shop, manifest, scratch)

    assert await restorable(shop) == [False]


async def test_a_backup_of_a_newer_server_is_not_judged(shop: Shop, scratch: ScratchServer) -> None:
    manifest = await create_backup(shop, "abcdef")
    entries = manifest.databases.items()
    newer = {service: one.model_copy(update={"server_version": 99}) for service, one in entries}

    with pytest.raises(PostgresToolsTooOld, match="is of PostgreSQL 99, and this image has"):
        await verify(shop, manifest.model_copy(update={"databases": newer}), scratch)

    assert await restorable(shop) == [None]


async def test_an_invariant_of_another_release_is_not_checked(shop: Shop, scratch: ScratchServer) -> None:
    """The image of a release has its invariants, and an older backup has an older schema."""
    manifest = await create_backup(shop, "abcdef")
    later = Invariant("of_a_later_release", "SELECT added_later FROM inbox;")
    invariants = {"notification": [later, *INVARIANTS["notification"]]}

    checked = await verify_backup(shop, manifest, shop.databases, invariants, scratch, NOW)

    assert checked == {"notification": len(INVARIANTS["notification"]), "payment": 0, "product": 0}


async def test_a_server_that_ends_says_nothing_of_the_backup(
    shop: Shop, scratch: ScratchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes are killed while it restores, as they are without memory."""
    manifest = await create_backup(shop, "abcdef")

    async def kill_and_restore(target: Shop, *arguments: Any) -> None:
        async with connect("test", target.databases["notification"]) as sql:
            pid = await sql.fetchval("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")

            async def die(*_: Any) -> None:
                os.kill(pid, signal.SIGKILL)

            monkeypatch.setattr(restoring, "_commit", die_and(die, restoring._commit))
            await restore_dumps(target, *arguments)

    monkeypatch.setattr(verification, "restore_dumps", kill_and_restore)

    with pytest.raises(ScratchServerFailed, match="for want of room or memory perhaps"):
        await verify(shop, manifest, scratch)

    assert await restorable(shop) == [None]


def die_and(die: Any, commit: Any) -> Any:
    async def both(service: str, session: Program, committed: Sequence[str]) -> None:
        await die()
        await session.write(b"SELECT pg_sleep(60);\n")
        await commit(service, session, committed)

    return both


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnreachable("psql ended with 2 and said: connection to server on socket failed: Connection refused", 2),
        RestoreInterrupted("COMMIT had no answer"),
        DatabaseFailed("psql ended with 3 and said: ERROR:  could not extend file: Disk quota exceeded", 3),
        DatabaseFailed("psql ended with 3 and said: ERROR:  could not map memory: Cannot allocate memory", 3),
        DatabaseFailed("pg_restore ended with -15 and said: nothing", -15),
    ],
)
async def test_a_lost_server_a_quota_and_a_signal_say_nothing_of_the_backup(
    shop: Shop, scratch: ScratchServer, monkeypatch: pytest.MonkeyPatch, error: BackupError
) -> None:
    manifest = await create_backup(shop, "abcdef")

    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(verification, "restore_dumps", fail)
    with pytest.raises(ScratchServerFailed, match="for want of room or memory perhaps"):
        await verify(shop, manifest, scratch)

    assert await restorable(shop) == [None]


async def test_a_server_that_is_lost_while_invariants_are_checked_says_nothing_of_the_backup(
    shop: Shop, scratch: ScratchServer
) -> None:
    manifest = await create_backup(shop, "abcdef")
    loses = Invariant("loses_its_server", "SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(ScratchServerFailed, match="the server into which notification is restored failed"):
        await verify_backup(shop, manifest, shop.databases, {"notification": [loses]}, scratch, NOW)

    assert await restorable(shop) == [None]


async def test_a_server_that_does_not_start_says_nothing_of_the_backup(shop: Shop, tmp_path: Path) -> None:
    manifest = await create_backup(shop, "abcdef")
    refusing = tmp_path / "refusing"
    refusing.mkdir()
    for name, program in (("initdb", "/bin/sh -c 'echo no locale >&2; exit 1'"), ("pg_ctl", "true")):
        (refusing / name).write_text(f"#!/bin/sh\nexec {program}\n")
        (refusing / name).chmod(0o755)

    with pytest.raises(ScratchServerFailed, match="does not start: initdb ended with 1 and said: no locale"):
        await verify(shop, manifest, ScratchServer(PostgresTools(str(refusing)), tmp_path))

    assert await restorable(shop) == [None]


async def test_a_user_id_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cluster may assign ids that the image does not know, and initdb requires a name."""

    def know_nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", know_nobody)
    initdb = tmp_path / "initdb"
    initdb.write_text('#!/bin/sh\necho "$LD_PRELOAD" >&2; cat "$NSS_WRAPPER_PASSWD" >&2; exit 1\n')
    initdb.chmod(0o755)

    with pytest.raises(ScratchServerFailed, match=rf"(?s)libnss_wrapper.so\n.*verify:x:{os.geteuid()}:"):
        async with ScratchServer(PostgresTools(str(tmp_path)), tmp_path).run():
            pass


async def test_one_verification_uses_a_folder_at_a_time(shop: Shop, scratch: ScratchServer) -> None:
    async with scratch.run() as login:
        with pytest.raises(ScratchServerFailed, match="another verification uses"):
            async with scratch.run():
                pass
        async with connect("test", login) as sql:
            assert await sql.fetchval("SELECT 1") == 1, "the first one goes on"


async def test_the_last_backup_that_is_known_to_be_restorable_is_kept(shop: Shop) -> None:
    made = [await create_backup(shop, f"{day}", lambda day=day: NOW - timedelta(days=day)) for day in (5, 4, 3, 2, 1)]  # type: ignore[misc]
    await record_verification(shop, made[1], NOW)

    assert await prune(shop, Retention(2), NOW) == [made[0].id, made[2].id]


async def test_a_backup_that_is_not_restorable_does_not_count(shop: Shop) -> None:
    old = [await create_backup(shop, f"{day}", lambda day=day: NOW - timedelta(days=day)) for day in (3, 2)]  # type: ignore[misc]
    broken = await create_backup(shop, "1", lambda: NOW - timedelta(days=1))
    await record_verification(shop, broken, NOW, "InvariantBroken: two charges")

    assert await prune(shop, Retention(1), NOW) == [old[0].id]


async def test_a_result_that_was_forged_is_none(shop: Shop, tmp_path: Path) -> None:
    good, other = await create_backup(shop, "a"), await create_backup(shop, "b")
    await record_verification(shop, good, NOW)
    folder = tmp_path / "backups/default/shop"
    shutil.copy(folder / good.id / "verification.json", folder / other.id / "verification.json")
    assert await restorable(shop) == [True, None], "it is of another backup"

    own = folder / good.id / "verification.json"
    own.write_text(own.read_text().replace('"failure": ""', '"failure": "none"'))
    assert await restorable(shop) == [None, None], "its signature is wrong"


@pytest.fixture
def environment(shop: Shop, scratch: ScratchServer, tmp_path: Path) -> dict[str, str]:
    """The environment of a pod that verifies the backups of the shop."""
    for service in SERVICES:
        (tmp_path / "databases" / service).mkdir(parents=True)
        (tmp_path / "invariants").mkdir(exist_ok=True)
        source = Path(__file__).parents[2] / f"services/{service}/{service}_service/invariants.sql"
        shutil.copy(source, tmp_path / f"invariants/{service}.sql")
    return {
        **os.environ,
        "BACKUP_SHOP": shop.name,
        "BACKUP_DESTINATION": f"file://{tmp_path}/backups",
        "BACKUP_KEY": base64.b64encode(b"k" * 32).decode(),
        "BACKUP_DATABASES": f"{tmp_path}/databases",
        "BACKUP_INVARIANTS": f"{tmp_path}/invariants",
        "BACKUP_SCRATCH": str(scratch.parent),
        "BACKUP_POSTGRES_BIN": shop.tools.folder,
    }


async def start(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "platform_backup", *arguments]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe)


async def test_the_command_says_what_held_and_fails_with_what_did_not(shop: Shop, environment: dict[str, str]) -> None:
    await create_backup(shop, "abcdef")
    process = await start(environment, "verify")
    output, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert json.loads(output.splitlines()[-1])["invariants"] == {name: len(INVARIANTS[name]) for name in SERVICES}
    order = uuid4()
    await pay(shop, order)
    await pay(shop, order)
    await create_backup(shop, "abcde0")

    process = await start(environment, "verify")
    _, errors = await process.communicate()

    assert process.returncode == 1
    (line,) = errors.decode().splitlines()
    assert line.startswith("platform_backup: InvariantBroken: ")
    assert "one_live_payment_per_order of payment" in line


async def test_what_a_killed_verification_left_is_ended_and_removed(
    shop: Shop, scratch: ScratchServer, environment: dict[str, str], tmp_path: Path
) -> None:
    """It is killed while a query of it runs in the server that it has started."""
    manifest = await create_backup(shop, "abcdef")
    waits = "-- invariant: waits\nSELECT pg_sleep(3600);\n"
    (tmp_path / "invariants/notification.sql").write_text(waits)
    process = await start(environment, "verify")
    login = shop.databases["payment"].model_copy(
        update={"db_host": str(scratch.parent / "verify"), "db_user": "verify", "db_name": "postgres"}
    )

    async def waits_in_the_query() -> bool:
        if not (scratch.parent / "verify/.s.PGSQL.5432").exists():
            return False
        with suppress(DatabaseFailed):  # it is starting up
            async with connect("test", login) as sql:
                return bool(await sql.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
        return False

    await eventually(waits_in_the_query)
    process.kill()
    await process.wait()
    server = int((scratch.parent / "verify/data/postmaster.pid").read_text().split()[0])
    assert runs(server)
    assert await restorable(shop) == [None]

    assert await verify(shop, manifest, scratch)

    assert not runs(server)


def runs(process: int) -> bool:
    return Path(f"/proc/{process}").exists()
