"""A bucket as a destination, on moto's S3 server, and what a backup says when it is away, refuses, or is full."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4
from xml.etree import ElementTree

import httpx
import pytest
from aiohttp import web
from chassis_testing.fault_proxy import fault_proxy
from chassis_testing.ports import free_port, stop_accepting
from chassis_testing.s3_server import s3_server, signed_for
from chassis_testing.waiting import eventually
from platform_backup import destination as destinations
from platform_backup import restore as restoring
from platform_backup.catalog import find_backup, list_backups, newest_backup, prune, verify_files
from platform_backup.create import Shop, create_backup
from platform_backup.destination import Destination, open_destination
from platform_backup.errors import (
    BackupDamaged,
    BackupError,
    DestinationFull,
    DestinationMissing,
    DestinationRefused,
    DestinationUnavailable,
)
from platform_backup.restore import restore_backup
from platform_backup.retention import Retention
from platform_backup.settings import DestinationSettings
from platform_backup.snapshots import connect
from received_events import receive, received

NOW = datetime.now(UTC)
_POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, and the one access key that may use it."""

    port: int
    access_key: str
    secret: str

    def settings(self, **changes: str) -> DestinationSettings:
        values = {
            "backup_destination": "s3://backups/of/shops",
            "backup_s3_endpoint": f"http://127.0.0.1:{self.port}",
            "backup_s3_access_key_id": self.access_key,
            "backup_s3_secret_access_key": self.secret,
        }
        return DestinationSettings(**{**values, **changes})


@pytest.fixture(scope="session")
async def bucket() -> AsyncIterator[Bucket]:
    """A bucket of an S3 server that verifies signatures."""
    port = free_port()
    async with s3_server("127.0.0.1", port) as client:
        yield await _create(client, port)


async def _create(client: httpx.AsyncClient, port: int) -> Bucket:
    """Creates the bucket and a user, then makes moto check who asks."""
    await _sent(client.put("/backups", headers=_signed_for("s3")))
    for action in (
        {"Action": "CreateUser", "UserName": "backup"},
        {"Action": "PutUserPolicy", "UserName": "backup", "PolicyName": "all", "PolicyDocument": _POLICY},
    ):
        await _sent(client.post("/", headers=_signed_for("iam"), content=urlencode(action)))
    created = await _sent(
        client.post(
            "/", headers=_signed_for("iam"), content=urlencode({"Action": "CreateAccessKey", "UserName": "backup"})
        )
    )
    found = {element.tag.rpartition("}")[2]: element.text or "" for element in ElementTree.fromstring(created).iter()}  # noqa: S314
    await _sent(client.post("/moto-api/reset-auth", content="0"))
    return Bucket(port, found["AccessKeyId"], found["SecretAccessKey"])


def _signed_for(service: str) -> dict[str, str]:
    return {**signed_for(service), "Content-Type": "application/x-www-form-urlencoded"}


async def _sent(answer: Awaitable[httpx.Response]) -> str:
    response = await answer
    response.raise_for_status()
    return response.text


async def test_a_bucket_keeps_backups_as_a_folder_does(shop: Shop, bucket: Bucket) -> None:
    there = replace(shop, name="default/kept", destination=open_destination(bucket.settings()))
    old = await create_backup(there, "abcde0", lambda: datetime(2026, 1, 1, tzinfo=UTC))

    manifest = await create_backup(there, "abcdef")
    await restore_backup(there, await newest_backup(there, NOW), {}, NOW, replace=True)

    assert [(backup.id, backup.is_whole) for backup in await list_backups(there)] == [
        (old.id, True),
        (manifest.id, True),
    ]
    assert await prune(there, Retention(1), NOW) == [old.id]
    assert [backup.id for backup in await list_backups(there)] == [manifest.id]


async def test_a_file_of_many_parts_is_whole(bucket: Bucket) -> None:
    destination = open_destination(bucket.settings())

    async def content() -> AsyncIterator[bytes]:
        for part in range(30):
            yield bytes([part]) * (1 << 20)

    await destination.write("many/parts", content())

    assert await destination.size("many/parts") == 30 << 20
    assert b"".join([part async for part in destination.stream("many/parts")]) == b"".join([p async for p in content()])


async def test_a_file_that_is_read_slowly_needs_no_request_of_that_length(bucket: Bucket) -> None:
    """Each request ends before its part is used: the bucket goes away for as long as the reader takes."""
    async with fault_proxy("127.0.0.1", bucket.port) as proxy:
        destination = open_destination(bucket.settings(backup_s3_endpoint=f"http://127.0.0.1:{proxy.port}"))
        content = bytes(20 << 20)
        await destination.write("slow/file", content)
        sizes: list[int] = []

        async for part in destination.stream("slow/file"):
            await proxy.sever()
            sizes.append(len(part))
            await proxy.restore()

        assert sizes == [8 << 20, 8 << 20, 4 << 20]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"backup_s3_secret_access_key": "wrong"}, DestinationRefused),
        ({"backup_s3_access_key_id": "AKIAUNKNOWN"}, DestinationRefused),
        ({"backup_destination": "s3://missing"}, DestinationMissing),
    ],
)
async def test_a_bucket_that_refuses_is_named(
    shop: Shop, bucket: Bucket, changes: dict[str, str], error: type[BackupError]
) -> None:
    wrong = replace(shop, destination=open_destination(bucket.settings(**changes)))

    with pytest.raises(error, match="the bucket"):
        await create_backup(wrong, "abcdef")
    with pytest.raises(error, match="the bucket"):
        await list_backups(wrong)


async def test_a_bucket_that_goes_away_leaves_no_backup(shop: Shop, bucket: Bucket) -> None:
    async with fault_proxy("127.0.0.1", bucket.port) as proxy:
        endpoint = f"http://127.0.0.1:{proxy.port}"
        there = replace(
            shop, name="default/away", destination=open_destination(bucket.settings(backup_s3_endpoint=endpoint))
        )
        async with connect("test", shop.databases["product"]) as sql:
            await sql.execute("BEGIN; LOCK TABLE inbox")
            creating = asyncio.create_task(create_backup(there, "abcdef"))
            await eventually(_has_files(shop, bucket, "default/away/"))
            await proxy.sever()
            await sql.execute("COMMIT")
        with pytest.raises(DestinationUnavailable, match="does not answer"):
            await creating

        await proxy.restore()
        assert [backup.is_whole for backup in await list_backups(there)] == [False]


@pytest.mark.parametrize("fault", ["answers 500", "resets the connection"])
async def test_a_bucket_that_fails_during_a_restore_changes_no_database(
    shop: Shop, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    name = f"default/{fault.split()[0]}"
    manifest = await create_backup(replace(shop, name=name, destination=open_destination(bucket.settings())), "abcdef")
    late = uuid4()
    for database in shop.databases.values():
        await receive(database, late)
    monkeypatch.setattr(destinations, "_PART_BYTES", 4096)  # so that a file has several

    async with _failing(bucket, "order.dump", resets=fault != "answers 500") as (failing, port):
        settings = bucket.settings(backup_s3_endpoint=f"http://127.0.0.1:{port}")
        there = replace(shop, name=name, destination=open_destination(settings))

        async def verify_and_fail(*arguments: Any) -> None:
            await verify_files(*arguments)
            failing.answers = 2

        monkeypatch.setattr(restoring, "verify_files", verify_and_fail)
        with pytest.raises(DestinationUnavailable, match="does not answer, or fails"):
            await restore_backup(there, manifest, {}, NOW, replace=True)
        assert failing.answers == 0, "the first parts were read"
        assert [await received(database) for database in shop.databases.values()] == [{late}] * 3

        monkeypatch.setattr(restoring, "verify_files", verify_files)
        failing.answers = math.inf
        await restore_backup(there, manifest, {}, NOW, replace=True)
        assert [await received(database) for database in shop.databases.values()] == [set()] * 3


@dataclass
class FailingBucket:
    """Forwards requests to a bucket, and fails when the content of a file is read."""

    client: httpx.AsyncClient
    file: str
    resets: bool
    """True if it resets the connection in the middle of its answer. Otherwise it answers 500."""
    answers: float = math.inf
    """How many parts it still answers."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers, path = dict(request.headers), request.raw_path
        found = await self.client.request(request.method, path, headers=headers, content=await request.read())
        response = web.StreamResponse(status=found.status_code, headers=_forwarded(found.headers))
        if request.method != "GET" or not request.path.endswith(self.file):
            return await self._send(response, request, found.content)
        if self.answers:
            self.answers -= 1
            return await self._send(response, request, found.content)
        if not self.resets:
            return web.Response(status=500, text="<Error><Code>InternalError</Code></Error>")
        await response.prepare(request)
        await response.write(found.content[: len(found.content) // 2])
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _send(self, response: web.StreamResponse, request: web.Request, content: bytes) -> web.StreamResponse:
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(content)
        return response


def _forwarded(headers: httpx.Headers) -> dict[str, str]:
    names = ("content-length", "content-range", "content-type", "etag", "last-modified")
    return {name: headers[name] for name in names if name in headers}


@asynccontextmanager
async def _failing(bucket: Bucket, file: str, *, resets: bool) -> AsyncIterator[tuple[FailingBucket, int]]:
    """Runs a server between a restore and the bucket. It does not fail at first."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{bucket.port}") as client:
        failing = FailingBucket(client, file, resets)
        async with _served(failing.answer) as port:
            yield failing, port


def _has_files(shop: Shop, bucket: Bucket, folder: str) -> Callable[[], Awaitable[bool]]:
    direct = open_destination(bucket.settings())

    async def has_two() -> bool:
        return len(await direct.list(folder)) == len(shop.databases) - 1

    return has_two


@pytest.mark.parametrize(
    ("status", "code"), [(507, "XMinioStorageFull"), (403, "QuotaExceeded"), (400, "XMinioAdminBucketQuotaExceeded")]
)
async def test_a_full_bucket_is_named(shop: Shop, status: int, code: str) -> None:
    async with _answering(status, f"<Error><Code>{code}</Code><Message>no room</Message></Error>") as port:
        full = replace(shop, destination=open_destination(Bucket(port, "a", "b").settings()))

        with pytest.raises(DestinationFull, match="keep fewer backups"):
            await create_backup(full, "abcdef")


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "AuthorizationHeaderMalformed", DestinationRefused),
        (401, "", DestinationRefused),
        (403, "AllAccessDisabled", DestinationRefused),
        (404, "NoSuchBucket", DestinationMissing),
        (400, "RequestTimeout", DestinationUnavailable),
        (408, "", DestinationUnavailable),
        (409, "OperationAborted", DestinationUnavailable),
        (429, "TooManyRequests", DestinationUnavailable),
        (500, "InternalError", DestinationUnavailable),
        (503, "SlowDown", DestinationUnavailable),
    ],
)
async def test_what_passes_is_told_from_what_has_to_be_corrected(
    status: int, code: str, error: type[BackupError]
) -> None:
    async with _answering(status, f"<Error><Code>{code}</Code></Error>") as port:
        destination = open_destination(Bucket(port, "a", "b").settings())

        with pytest.raises(error, match="the bucket"):
            await destination.list("default/shop/")


async def test_a_missing_bucket_is_told_from_a_missing_file(shop: Shop) -> None:
    async def read_all(destination: Destination) -> None:
        async for _ in destination.stream("default/shop/a/order.dump"):
            pass

    async with _answering(404, "<Error><Code>NoSuchBucket</Code></Error>") as port:
        destination = open_destination(Bucket(port, "a", "b").settings())
        for asked in (
            destination.read("default/shop/a/manifest.json"),
            destination.size("default/shop/a/order.dump"),
            destination.delete("default/shop/a/order.dump"),
            destination._read_part("default/shop/a/order.dump", 0, 1),
            read_all(destination),
            find_backup(replace(shop, destination=destination), "a"),
        ):
            with pytest.raises(DestinationMissing, match="does not exist"):
                await asked


async def test_a_clock_that_is_wrong_is_named_and_another_attempt_may_succeed() -> None:
    async with _answering(403, "<Error><Code>RequestTimeTooSkewed</Code></Error>") as port:
        destination = open_destination(Bucket(port, "a", "b").settings())

        with pytest.raises(DestinationUnavailable, match="the clocks of this node and of the bucket backups"):
            await destination.list("default/shop/")


async def test_a_bucket_that_refuses_connections_is_unavailable() -> None:
    destination = open_destination(Bucket(free_port(), "a", "b").settings())

    with pytest.raises(DestinationUnavailable, match="does not answer"):
        await destination.list("default/shop/")


@asynccontextmanager
async def _answering(status: int, body: str) -> AsyncIterator[int]:
    """Runs a server that answers every request so."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type="application/xml")

    async with _served(answer) as port:
        yield port


@asynccontextmanager
async def _served(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[int]:
    """Runs a server, and gives its port."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    with socket.create_server(("127.0.0.1", port := free_port())) as listening:
        await web.SockSite(runner, listening).start()
        try:
            yield port
        finally:
            await stop_accepting(listening)
            await runner.cleanup()


async def test_a_folder_that_is_not_mounted_is_named(tmp_path: Path) -> None:
    with pytest.raises(DestinationMissing, match="mount the volume"):
        open_destination(DestinationSettings(backup_destination=f"file://{tmp_path}/missing"))


async def test_deleting_what_is_not_there_is_no_error(shop: Shop) -> None:
    destination: Destination = shop.destination

    await destination.delete("default/shop/none/order.dump")
    with pytest.raises(BackupDamaged, match="is missing"):
        await anext(destination.stream("default/shop/none/order.dump"))
    assert await destination.read("default/shop/none/manifest.json") is None
    assert await destination.size("default/shop/none/order.dump") is None
