"""The manifest of a backup, which is written last: files without a manifest are not a backup. And its verification.

Both are signed by the key of the shop's backups, so neither a file nor the manifest can be exchanged unnoticed.
"""

import hmac
import json
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from platform_backup.encryption import BackupKey
from platform_backup.errors import BackupDamaged, WrongKey

FORMAT = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_P = TypeVar("_P", bound=_Part)


class OutboxPosition(_Part):
    """The outbox of a database in its snapshot."""

    last_sequence: int
    """The number of the last event that was recorded, published or not; 0 without any."""
    waiting: int
    """How many events were recorded and not yet published."""


class DatabaseEntry(_Part):
    """One database of a backup."""

    file: str
    size: Annotated[int, Field(gt=0)]
    """The size of the encrypted file in bytes."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """The digest of the encrypted file."""
    server_version: int
    """The major version of the PostgreSQL server."""
    revision: str | None
    """The revision of the schema; None for a database without one."""
    snapshot_at: datetime
    """When the snapshot was taken, by the clock of the server."""
    outbox: OutboxPosition | None
    """None for a database without an outbox, whose service publishes no events."""


class Manifest(_Part):
    """A backup: the databases of a shop, each at its snapshot."""

    format: int = FORMAT
    id: str
    shop: str
    shop_uid: str = ""
    """The UID of the shop's EcommercePlatform; empty in backups of earlier releases, or without the operator."""
    tool_version: str
    """The release that has written it; `dev` outside of an image, and in backups of earlier releases."""
    key_id: str
    started_at: datetime
    finished_at: datetime
    databases: dict[str, DatabaseEntry]

    @property
    def cut_at(self) -> datetime:
        """The time of the earliest snapshot: a database has everything that was committed before."""
        return min(entry.snapshot_at for entry in self.databases.values())

    @property
    def cut_spread_seconds(self) -> float:
        """The time between the earliest and the latest snapshot."""
        return (max(entry.snapshot_at for entry in self.databases.values()) - self.cut_at).total_seconds()

    @property
    def size(self) -> int:
        """The size of all files in bytes, without the manifest."""
        return sum(entry.size for entry in self.databases.values())


class Verification(_Part):
    """The result of the last verification of a backup, which stands beside its manifest."""

    format: int = FORMAT
    id: str
    shop: str
    key_id: str
    verified_at: datetime
    failure: str = ""
    """Why the backup is not restorable; empty if it was restored and its invariants held."""


def write_manifest(manifest: Manifest, key: BackupKey) -> bytes:
    """Returns the signed manifest as JSON."""
    return _signed(manifest.model_dump(mode="json", exclude=None if manifest.shop_uid else {"shop_uid"}), key)


def write_verification(verification: Verification, key: BackupKey) -> bytes:
    """Returns the signed verification as JSON."""
    return _signed(verification.model_dump(mode="json"), key)


def read_manifest(text: bytes, key: BackupKey) -> Manifest:
    """Returns a manifest whose signature is right. Raises BackupDamaged, WrongKey."""
    return _read(text, key, Manifest)


def read_verification(text: bytes, key: BackupKey) -> Verification:
    """Returns a verification whose signature is right. Raises BackupDamaged, WrongKey."""
    return _read(text, key, Verification)


def _signed(content: dict[str, object], key: BackupKey) -> bytes:
    return json.dumps({**content, "signature": key.sign(_canonical(content))}, indent=2, sort_keys=True).encode()


def _read(text: bytes, key: BackupKey, kind: type[_P]) -> _P:
    content = _parse(text)
    signature = content.pop("signature", None)
    if content.get("key_id") != key.id:
        raise WrongKey(
            f"the backup was made with the key {content.get('key_id')}, and this is the key {key.id}: use the Secret "
            "with that key"
        )
    if not isinstance(signature, str) or not hmac.compare_digest(signature, key.sign(_canonical(content))):
        raise BackupDamaged("the manifest was changed after it was written: restore another backup")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise BackupDamaged(
            f"this release cannot read the manifest, of format {content.get('format')}: {error.errors()[0]['msg']}"
        ) from None


def stated_uid(text: bytes) -> str:
    """Returns the UID that a manifest states, signed or not; empty if it states none. It only protects a backup from
    being deleted."""
    try:
        uid = _parse(text).get("shop_uid")
    except BackupDamaged:
        return ""
    return uid if isinstance(uid, str) else ""


def backup_id(now: datetime, suffix: str) -> str:
    """Returns the id of a backup that begins now; ids sort by time."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{suffix}"


def time_of(backup: str) -> datetime | None:
    """Returns the time in the id of a backup; None for any other name."""
    try:
        return datetime.strptime(backup.partition("-")[0], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _parse(text: bytes) -> dict[str, object]:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise BackupDamaged("the manifest is cut off or not JSON: restore another backup")
    return content


def _canonical(content: dict[str, object]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
