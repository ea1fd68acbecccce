"""The composition root: builds the whole service by hand."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated

from chassis import http, rpc
from chassis.database import Database
from chassis.kernel.ids import uuid7
from chassis.process import Command, Service, every
from chassis.settings import BackendSettings
from chassis.tokens import Authenticator, TokenVerifier
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from user_service.domain.accounts import Email, normal_email, normal_password
from user_service.handlers.grpc import UserServicer
from user_service.handlers.http import routes
from user_service.handlers.problems import PROBLEMS
from user_service.service.accounts import Accounts
from user_service.service.first_admin import first_admin
from user_service.service.passwords import Passwords
from user_service.service.sessions import Sessions
from user_service.service.signing import Signer

SCHEMA = "0001"
_SECRET_BYTES = 32
_SWEEP_SECONDS = 3600


def _long_enough(secret: str) -> str:
    if len(secret.encode()) < _SECRET_BYTES:
        raise ValueError(f"write {_SECRET_BYTES} bytes or more, such as `openssl rand -base64 48` makes")
    return secret


class Settings(BackendSettings):
    jwt_secret: Annotated[str, AfterValidator(_long_enough), Field(repr=False)]
    """What the key that signs access tokens is derived from."""
    access_token_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    refresh_token_seconds: Annotated[int, Field(ge=1, le=31_536_000)] = 2_592_000
    """How long a session lives without being refreshed."""
    admin_email: Annotated[Email, AfterValidator(normal_email)] | None = None
    admin_password: Annotated[
        Annotated[str, AfterValidator(normal_password)] | None, Field(repr=False, validate_default=True)
    ] = None

    @field_validator("admin_password")
    @classmethod
    def _pairs_with_its_address(cls, password: str | None, others: ValidationInfo) -> str | None:
        if (password is None) != (others.data.get("admin_email") is None):
            raise ValueError("set both ADMIN_EMAIL and ADMIN_PASSWORD, or neither")
        return password


def _now() -> datetime:
    return datetime.now(UTC)


async def build(settings: Settings) -> Service:
    database, passwords = Database(settings, SCHEMA), Passwords()
    signer = Signer(settings.jwt_secret, timedelta(seconds=settings.access_token_seconds), uuid7)
    session_lifetime = timedelta(seconds=settings.refresh_token_seconds)
    sessions = Sessions(database, passwords, signer, session_lifetime, _now, secrets.token_bytes)
    accounts = Accounts(database, passwords, _now)
    auth = Authenticator(TokenVerifier(signer.published))
    ready = http.Readiness(database.is_ready)

    background = {"sweep": every(_SWEEP_SECONDS, sessions.sweep)}
    if settings.admin_email is not None and settings.admin_password is not None:
        background["first admin"] = first_admin(accounts, settings.admin_email, settings.admin_password, database)
    return Service(
        http=http.app("User", settings.service_version, routes(sessions, accounts, signer, auth), PROBLEMS, ready),
        ready=ready,
        rpc=rpc.Server(settings.grpc_port, PROBLEMS, [UserServicer(accounts, signer).register]),
        background=background,
        closers=(passwords.close, database.close),
    )


COMMAND = Command("user", "user_service", Settings, build)
