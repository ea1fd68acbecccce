"""The two roles of a service's database: the owner migrates it, the runtime role reads and writes its rows.

The service logs in as the runtime role, which cannot create, alter, drop or truncate anything (docs/adr/0029).
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace

import asyncpg
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database.engine import database_tls, driver_error
from chassis.errors import RuntimeRoleRefused
from chassis.observability import logs
from chassis.settings import DatabaseSettings

_LOGIN_TIMEOUT_SECONDS = 3
_SCRAM_ITERATIONS = 4096
"""PostgreSQL's own number."""
_PRIVILEGES = (
    "REVOKE CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC",
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "GRANT USAGE ON SCHEMA public TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    "REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {role}",
    # What later migrations create, so that no table is ever without its privileges, also while they run.
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {role}",
)
"""The privileges of the runtime role. Every role may execute the functions of a schema, as PostgreSQL has it."""
_END_CONNECTIONS = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :name")

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RuntimeRole:
    """The role that a service logs in as, if it is not the owner of its database."""

    name: str
    password: str = field(repr=False)


async def grant_runtime_role(connection: AsyncConnection, settings: DatabaseSettings, role: RuntimeRole) -> None:
    """Gives the runtime role its privileges in a migrated database, as its owner, in one transaction. Idempotent.

    A role that cannot log in with its password is created, or gets this password; so the owner needs the right to
    create roles only where the role does not exist yet. Raises RuntimeRoleRefused.
    """
    can_log_in = await _can_log_in(settings, role)
    async with connection.begin():
        if not can_log_in:
            await _create_or_change(connection, role)
        await _refuse_owners(connection, role)
        quote = connection.dialect.identifier_preparer.quote_identifier
        for statement in _PRIVILEGES:
            await connection.exec_driver_sql(statement.format(database=quote(settings.db_name), role=quote(role.name)))
    log.info("the runtime role has its privileges", role=role.name)


async def retire_runtime_role(connection: AsyncConnection, name: str) -> None:
    """Takes the login from a former runtime role, and ends its connections, as the owner of the database. Idempotent.

    The role stays, with its privileges and without a password: a later rotation uses it again. Raises
    RuntimeRoleRefused.
    """
    quoted = connection.dialect.identifier_preparer.quote_identifier(name)
    async with connection.begin():
        if not await _exists(connection, name):
            return
        try:
            await connection.exec_driver_sql(f"ALTER ROLE {quoted} NOLOGIN PASSWORD NULL")
            await connection.execute(_END_CONNECTIONS, {"name": name})
        except exc.DBAPIError as error:
            if not isinstance(driver_error(error.orig), asyncpg.InsufficientPrivilegeError):
                raise
            raise RuntimeRoleRefused(
                f"the owner of the database may not take the login from {name}, the role of DB_RUNTIME_RETIRED_USER: "
                "drop that role, or leave the variable out"
            ) from None
    log.info("the former runtime role has no login", role=name)


async def replace_owner_password(settings: DatabaseSettings, former: str) -> None:
    """Gives the owner of the database the password of the settings, if it still has the former one. Idempotent.

    Raises asyncpg.InvalidPasswordError if it has another one.
    """
    owner = RuntimeRole(settings.db_user, settings.db_password)
    if await _can_log_in(settings, owner):
        return
    connection = await _log_in(settings, replace(owner, password=former))
    try:
        await connection.execute(f"ALTER ROLE CURRENT_USER PASSWORD '{_scram_verifier(owner.password)}'")
    finally:
        await connection.close()
    log.info("the owner of the database has its next password", role=owner.name)


async def _can_log_in(settings: DatabaseSettings, role: RuntimeRole) -> bool:
    try:
        connection = await _log_in(settings, role)
    except asyncpg.InvalidAuthorizationSpecificationError:
        return False
    except asyncpg.InsufficientPrivilegeError:
        return True  # the password is right, and the right to connect to this database is granted below
    await connection.close()
    return True


async def _log_in(settings: DatabaseSettings, role: RuntimeRole) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=settings.db_host,
        port=settings.db_port,
        user=role.name,
        password=role.password,
        database=settings.db_name,
        ssl=database_tls(settings),
        timeout=_LOGIN_TIMEOUT_SECONDS,
    )


async def _create_or_change(connection: AsyncConnection, role: RuntimeRole) -> None:
    exists = await _exists(connection, role.name)
    name = connection.dialect.identifier_preparer.quote_identifier(role.name)
    verb = "ALTER" if exists else "CREATE"
    try:
        await connection.exec_driver_sql(f"{verb} ROLE {name} LOGIN PASSWORD '{_scram_verifier(role.password)}'")
    except exc.DBAPIError as error:
        if not isinstance(driver_error(error.orig), asyncpg.InsufficientPrivilegeError):
            raise
        raise RuntimeRoleRefused(
            f"the role {role.name} of DB_RUNTIME_USER cannot log in with DB_RUNTIME_PASSWORD, and the owner of the "
            "database may not create or change roles: create the role with this password, then migrate again"
        ) from None


async def _exists(connection: AsyncConnection, name: str) -> bool:
    return bool(
        await connection.scalar(text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :name)"), {"name": name})
    )


async def _refuse_owners(connection: AsyncConnection, role: RuntimeRole) -> None:
    if await connection.scalar(text("SELECT pg_has_role(:name, current_user, 'MEMBER')"), {"name": role.name}):
        raise RuntimeRoleRefused(
            f"the role {role.name} of DB_RUNTIME_USER can become the owner of the database: name a role that is "
            "neither a superuser nor a member of the owner"
        )


def _scram_verifier(password: str) -> str:
    """Returns what PostgreSQL stores of a password (RFC 5803), so that no statement, log or error has the password."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored, server = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{salt_text}${stored}:{server}"
