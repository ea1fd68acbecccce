"""The composition root: builds the whole service by hand."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service, repeat_every
from chassis.settings import BackendSettings
from chassis.types.ids import uuid7
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from user_service.domain.accounts import Email, normal_email, normal_password
from user_service.domain.lockout import Backoff
from user_service.domain.mail import MailTerms
from user_service.handlers.callers import Callers
from user_service.handlers.grpc import UserServicer
from user_service.handlers.http import routes
from user_service.handlers.problems import PROBLEMS
from user_service.service.accounts import Accounts
from user_service.service.first_admin import FirstAdmin
from user_service.service.gate import Gate
from user_service.service.mail import MailedTokens
from user_service.service.passwords import Passwords
from user_service.service.sessions import Sessions
from user_service.service.signing import Signer, key_for

SCHEMA = "0002"
_SECRET_BYTES = 32
_SWEEP_SECONDS = 3600
_FORGOT_SECONDS = 0.3
"""How long the answer to a forgotten password takes: several times what the work takes where there is an account."""


def _long_enough(secret: str) -> str:
    if len(secret.encode()) < _SECRET_BYTES:
        raise ValueError(f"write {_SECRET_BYTES} bytes or more, such as `openssl rand -base64 48` makes")
    return secret


class Settings(BackendSettings):
    jwt_secret: Annotated[str, AfterValidator(_long_enough), Field(repr=False)]
    """What all keys are derived from: the one that signs access tokens, and those of mailed tokens and counted addresses."""
    access_token_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    refresh_token_seconds: Annotated[int, Field(ge=1, le=31_536_000)] = 2_592_000
    """How long a session lives without being refreshed."""
    verification_token_seconds: Annotated[int, Field(ge=60, le=2_592_000)] = 259_200
    reset_token_seconds: Annotated[int, Field(ge=60, le=86_400)] = 3600
    mails_per_hour: Annotated[int, Field(ge=1, le=1000)] = 5
    """How many mails of a kind an account may ask for."""
    login_failures_allowed: Annotated[int, Field(ge=1, le=100)] = 5
    """Wrong passwords in a row before an address must wait; each further one doubles the wait."""
    login_wait_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    login_wait_max_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
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


def _utc_now() -> datetime:
    return datetime.now(UTC)


async def build(settings: Settings, now: Callable[[], datetime] = _utc_now) -> Service:
    backend = Backend("user", settings, SCHEMA, now)
    database, outbox, passwords = backend.database, backend.outbox, Passwords()
    signer = Signer(settings.jwt_secret, timedelta(seconds=settings.access_token_seconds), uuid7)
    session_lifetime = timedelta(seconds=settings.refresh_token_seconds)
    address_key, mail_key = (key_for(purpose, settings.jwt_secret) for purpose in ("addresses v1", "mailed tokens v1"))
    gate = Gate(database, passwords, _backoff(settings), address_key, now)
    mailed = MailedTokens(
        database, outbox, passwords, gate, _mail_terms(settings), mail_key, now, uuid7, _FORGOT_SECONDS
    )
    sessions = Sessions(
        database, outbox, passwords, gate, mailed, signer, session_lifetime, now, uuid7, secrets.token_bytes
    )
    accounts = Accounts(database, outbox, passwords, gate, now, uuid7)
    callers = Callers(Authenticator(TokenVerifier(signer.published)), sessions)
    checks = [database.is_ready]

    background = {
        **backend.loops(),
        "sweep sessions": repeat_every(_SWEEP_SECONDS, sessions.sweep),
        "sweep mail requests": repeat_every(_SWEEP_SECONDS, mailed.sweep),
        "sweep failures": repeat_every(_SWEEP_SECONDS, gate.sweep),
    }
    if settings.admin_email is not None and settings.admin_password is not None:
        first_admin = FirstAdmin(accounts, settings.admin_email, settings.admin_password, database)
        background["first admin"] = first_admin.register
        checks.append(first_admin.is_registered)
    ready = Readiness(*checks)
    return Service(
        http=create_app(
            "User", settings.service_version, routes(sessions, accounts, mailed, signer, callers), PROBLEMS, ready
        ),
        ready=ready,
        rpc=GrpcServer(settings.grpc_port, PROBLEMS, [UserServicer(accounts, mailed, signer).register]),
        background=background,
        closers=(passwords.close, backend.close),
    )


def _backoff(settings: Settings) -> Backoff:
    first, longest = settings.login_wait_seconds, settings.login_wait_max_seconds
    return Backoff(settings.login_failures_allowed, timedelta(seconds=first), timedelta(seconds=max(first, longest)))


def _mail_terms(settings: Settings) -> MailTerms:
    return MailTerms(
        verification=timedelta(seconds=settings.verification_token_seconds),
        reset=timedelta(seconds=settings.reset_token_seconds),
        most=settings.mails_per_hour,
        window=timedelta(hours=1),
    )


PROGRAM = Program("user", Settings, build)
