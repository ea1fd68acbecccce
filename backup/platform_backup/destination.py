"""The place of the backups: a bucket of an S3-compatible server, or a folder.

Below it, `<shop>/<backup id>/` has the files of one backup. A file appears when it is complete.
"""

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import LocalStore, S3Store

from platform_backup.errors import (
    BackupDamaged,
    BackupError,
    DestinationFull,
    DestinationMissing,
    DestinationRefused,
    DestinationUnavailable,
)
from platform_backup.settings import DestinationSettings

_PART_BYTES = 8 << 20
"""A bucket takes 10,000 parts, so a file may have 80 GB."""
_PARTS_AT_ONCE = 2
_TIMEOUT = timedelta(seconds=60)
_CONNECT_TIMEOUT = timedelta(seconds=5)
_RETRIES = 4
_RETRY_TIMEOUT = timedelta(seconds=90)
_FULL = re.compile("QuotaExceeded|StorageFull|InsufficientStorage|status code: 507|No space left|os error (28|122)")
"""What servers say without room: Ceph, MinIO, HTTP itself, and the file system, whose quota is error 122."""
_REFUSED = re.compile("AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|Permission denied")
_STATUS = re.compile(r"status code: (\d+)")
_TRANSIENT_STATUS = {408, 409, 425, 429}
"""Refusals after which another attempt may succeed: S3 answers 409 while a bucket is changed (OperationAborted)."""
_REFUSALS = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError)
_MISSING = (exceptions.NotFoundError, FileNotFoundError)

Store: TypeAlias = S3Store | LocalStore


class Destination:
    """The files of all backups of one shop. Each method raises Destination{Unavailable,Missing,Refused,Full}."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name

    async def write(self, path: str, content: AsyncIterator[bytes] | bytes) -> None:
        """Writes a file, which appears when all of it is there."""
        with self._named_errors():
            await obstore.put_async(self._store, path, content, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    async def size(self, path: str) -> int | None:
        """Returns the size of a file; None if there is none."""
        with self._named_errors():
            try:
                return (await obstore.head_async(self._store, path))["size"]
            except _MISSING:
                pass
        await self.list(path)  # the answer to HEAD does not say whether the file is missing, or the bucket
        return None

    async def read(self, path: str) -> bytes | None:
        """Returns the content of a small file; None if there is none."""
        with self._named_errors():
            try:
                return bytes(await (await obstore.get_async(self._store, path)).bytes_async())
            except _MISSING as error:
                if _is_of_the_bucket(error):
                    raise
                return None

    async def stream(self, path: str) -> AsyncIterator[bytes]:
        """Yields the content of a file of a backup. Raises BackupDamaged if there is none.

        Each part is a request of its own: the timeout is that of a whole request, which a reader as slow as a restore
        would exceed.
        """
        size = await self.size(path)
        if size is None:
            raise BackupDamaged(f"{path} is missing: restore another backup")
        for start in range(0, size, _PART_BYTES):
            yield await self._read_part(path, start, min(start + _PART_BYTES, size))

    async def _read_part(self, path: str, start: int, end: int) -> bytes:
        with self._named_errors():
            try:
                return bytes(await obstore.get_range_async(self._store, path, start=start, end=end))
            except _MISSING as error:
                if _is_of_the_bucket(error):
                    raise
                raise BackupDamaged(f"{path} was deleted while it was read: restore another backup") from None

    async def list(self, folder: str) -> dict[str, int]:
        """Returns the sizes of all files below a folder, by path."""
        with self._named_errors():
            found: dict[str, int] = {}
            async for page in obstore.list(self._store, folder):
                found |= {entry["path"]: entry["size"] for entry in page}
            return found

    async def delete(self, path: str) -> None:
        """Deletes a file, if there is one."""
        with self._named_errors():
            try:
                await obstore.delete_async(self._store, path)
            except _MISSING as error:
                if _is_of_the_bucket(error):
                    raise

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Raises the errors of the store as those of this package, whose message is one line."""
        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            raise self._named(error) from error

    def _named(self, error: Exception) -> BackupError:
        text = _one_line(error)
        if _FULL.search(str(error)):
            return DestinationFull(f"{self._name} is full: give it more room, or keep fewer backups ({text})")
        if "RequestTimeTooSkewed" in str(error):
            return DestinationUnavailable(
                f"the clocks of this node and of {self._name} differ too much: correct the one that is wrong ({text})"
            )
        status = _status(error)
        if isinstance(error, _MISSING) or status == 404:
            return DestinationMissing(f"{self._name} does not exist: create it, or name another ({text})")
        if isinstance(error, _REFUSALS) or _REFUSED.search(str(error)) or _is_final(status, error):
            return DestinationRefused(
                f"{self._name} refuses these credentials, what they may do, or the region: they need to list, read, "
                f"write and delete ({text})"
            )
        return DestinationUnavailable(f"{self._name} does not answer, or fails ({text})")


def open_destination(settings: DestinationSettings) -> Destination:
    """Returns the destination of the settings. It is not asked yet."""
    url = settings.backup_destination
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Destination(LocalStore(_existing_folder(parts.path)), f"the folder {parts.path}")
    endpoint = settings.backup_s3_endpoint
    store = S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config={
            "region": settings.backup_s3_region,
            "access_key_id": settings.backup_s3_access_key_id,
            "secret_access_key": settings.backup_s3_secret_access_key,
            **({"endpoint": endpoint, "virtual_hosted_style_request": False} if endpoint else {}),
        },
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "timeout": _TIMEOUT,
            "connect_timeout": _CONNECT_TIMEOUT,
            **({"root_certificate": settings.backup_s3_ca} if settings.backup_s3_ca else {}),
        },
        retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_TIMEOUT},
    )
    return Destination(store, f"the bucket {parts.netloc}" + (f" at {endpoint}" if endpoint else ""))


def _existing_folder(path: str) -> Path:
    """Returns the folder, which must exist: a volume that is not mounted is not silently replaced."""
    if not os.access(path, os.W_OK | os.X_OK):
        raise DestinationMissing(f"the folder {path} does not exist or is not writable: mount the volume there")
    return Path(path)


def _is_of_the_bucket(error: Exception) -> bool:
    """Returns whether it is the bucket that is missing, rather than a file."""
    return "NoSuchBucket" in str(error)


def _status(error: Exception) -> int:
    """Returns the HTTP status that a server answered; 0 if it did not."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def _is_final(status: int, error: Exception) -> bool:
    """Returns whether a request that a server has answered so fails again, until something is corrected."""
    return 400 <= status < 500 and status not in _TRANSIENT_STATUS and "RequestTimeout" not in str(error)


def _one_line(error: Exception) -> str:
    """Returns what the server answered, or else what happened, in one line of at most 300 characters."""
    text = " ".join(str(error).split("Debug source", 1)[0].split())
    return text.rpartition(" - Server returned ")[2][:300]
