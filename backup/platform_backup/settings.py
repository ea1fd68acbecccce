"""The settings of a backup or a restore, from the environment and from the mounted Secrets of the databases."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Self, TypeVar
from urllib.parse import urlsplit

from chassis.database.invariants import Invariant, parse_invariants
from chassis.errors import SettingsError
from chassis.settings import DatabaseSettings, Environment, LogSettings, read
from pydantic import AfterValidator, Field, model_validator

from platform_backup.encryption import BackupKey

_S = TypeVar("_S", bound=DatabaseSettings)


def _validate_destination(value: str) -> str:
    parts = urlsplit(value)
    if "#" in value or "?" in value:
        raise ValueError("write a destination without # and ?")
    if (parts.scheme == "s3" and parts.netloc) or (parts.scheme == "file" and parts.path.startswith("/")):
        return value
    raise ValueError("write s3://bucket, s3://bucket/prefix or file:///folder")


def _validate_time(value: str) -> str:
    if value and datetime.fromisoformat(value).tzinfo is None:
        raise ValueError("write a time with its zone, such as 2026-01-31T03:00:00Z")
    return value


def _validate_key(value: str) -> str:
    BackupKey.parse(value)
    return value


class DestinationSettings(Environment):
    """The place of the backups: a bucket or a folder."""

    backup_destination: Annotated[str, AfterValidator(_validate_destination)]
    """The bucket and the prefix in it, `s3://bucket/prefix`, or a folder, `file:///backups`."""
    backup_s3_endpoint: Annotated[str, Field(pattern="^(https?://[^/]+)?/?$")] = ""
    """The URL of an S3-compatible server. Without it, the bucket is one of AWS."""
    backup_s3_region: str = "us-east-1"
    """The region of the bucket."""
    backup_s3_access_key_id: str = ""
    """The id of the access key of the bucket."""
    backup_s3_secret_access_key: Annotated[str, Field(repr=False)] = ""
    """The secret of that access key."""
    backup_s3_ca: Annotated[str, Field(repr=False)] = ""
    """The authority of the server's certificate, in PEM, if the image does not trust it."""

    @model_validator(mode="after")
    def _has_the_credentials_of_its_bucket(self) -> Self:
        has_both = bool(self.backup_s3_access_key_id) and bool(self.backup_s3_secret_access_key)
        if self.backup_destination.startswith("s3:") and not has_both:
            raise ValueError("set BACKUP_S3_ACCESS_KEY_ID and BACKUP_S3_SECRET_ACCESS_KEY, which s3:// needs")
        return self


class BackupSettings(LogSettings, DestinationSettings):
    """The settings of every command."""

    backup_shop: Annotated[str, Field(pattern="^[a-z0-9]([a-z0-9./-]*[a-z0-9])?$")]
    """The name of the shop, below which the destination has its backups: `<namespace>/<platform>`."""
    backup_shop_uid: Annotated[str, Field(pattern="^[a-z0-9-]{0,64}$")] = ""
    """The UID of the shop's EcommercePlatform. Backups of a former shop of the same name have another one: they are
    neither counted nor deleted nor verified. Empty without the operator."""
    backup_shop_created: Annotated[str, AfterValidator(_validate_time)] = ""
    """The creationTimestamp of that EcommercePlatform: a backup without a UID that began before it is one of a former
    shop. Empty if it is not known; then each backup without a UID counts as the shop's."""
    backup_key: Annotated[str, AfterValidator(_validate_key), Field(repr=False)]
    """The key of the encryption, as `openssl rand -base64 32` prints it. Without it a backup cannot be restored."""
    backup_databases: str = "/databases"
    """The folder of the databases' Secrets: `<service>/DB_HOST` and the other keys, for each service."""
    backup_runtime_roles: str = "/runtime-roles"
    """The folder of the Secrets of the runtime roles, for each service that has one. Only a restore reads it."""
    backup_postgres_bin: str = ""
    """The folder with pg_dump, pg_restore, psql, initdb and pg_ctl. Without it they are on PATH."""
    backup_version: str = "dev"
    """The release of this image, which the manifest of a backup names."""
    backup_scratch: str = "/scratch"
    """The folder in which a verification starts a PostgreSQL server, which is removed with all that it has."""
    backup_invariants: str = "/invariants"
    """The folder of the services' invariants, `<service>.sql`, which a verification checks."""
    backup_keep: Annotated[int, Field(ge=1)] = 7
    """How many of the newest backups are kept."""
    backup_keep_days: Annotated[int, Field(ge=0, le=3650)] = 0
    """The age in days up to which a backup is kept, however many there are."""

    @property
    def key(self) -> BackupKey:
        return BackupKey.parse(self.backup_key)

    @property
    def shop_created(self) -> datetime | None:
        return datetime.fromisoformat(self.backup_shop_created) if self.backup_shop_created else None


class OwnerSettings(DatabaseSettings):
    """The login of the owner of a database, whose password a migration may be about to replace."""

    db_previous_password: Annotated[str, Field(repr=False)] = ""
    """The former password, which opens the database until the migration has replaced it."""


def read_databases(folder: str) -> dict[str, OwnerSettings]:
    """Returns the databases of a folder of mounted Secrets, by service. Raises SettingsError."""
    found = {path.name: _read_secret(path, OwnerSettings) for path in sorted(Path(folder).glob("*")) if path.is_dir()}
    if not found:
        raise SettingsError(f"{folder} has no Secret of a database: mount <service>/DB_HOST and its other keys there")
    return found


def read_runtime_roles(folder: str) -> dict[str, DatabaseSettings]:
    """Returns the logins of the services, by service, of those that have a Secret. Raises SettingsError."""
    return {
        path.name: _read_secret(path, DatabaseSettings)
        for path in sorted(Path(folder).glob("*"))
        if any(path.glob("DB_*"))
    }


def read_services(folder: str) -> list[str]:
    """Returns the services whose database has a mounted Secret, without reading it."""
    return sorted(path.name for path in Path(folder).glob("*") if path.is_dir())


def read_invariants(folder: str) -> dict[str, list[Invariant]]:
    """Returns the invariants, by service. Raises SettingsError."""
    found = {path.stem: parse_invariants(path.read_text()) for path in sorted(Path(folder).glob("*.sql"))}
    if not found:
        raise SettingsError(f"BACKUP_INVARIANTS: {folder} has no <service>.sql with the invariants of a service")
    return found


def _read_secret(folder: Path, settings: type[_S]) -> _S:
    content = {path.name: path.read_text().rstrip("\n") for path in folder.glob("DB_*")}
    try:
        return read(settings, content)
    except SettingsError as error:
        raise SettingsError(f"{folder}: {error}") from None
