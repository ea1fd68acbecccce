"""The composition root: builds the whole service by hand."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from chassis.database.change_counts import COMPACTION_INTERVAL_SECONDS, ChangeCount
from chassis.grpc.access import CallerAuthorization
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier
from chassis.runtime.backend import Backend, utc_now
from chassis.runtime.process import Program, Service, repeat_every
from chassis.types.ids import uuid7

from user_service.clients.ended_session_store import EndedSessionStore, connect
from user_service.domain.lockout import LockoutPolicies, LockoutPolicy
from user_service.domain.mail_tokens import MailTokenPolicy
from user_service.handlers.dependencies import CallerDependencies
from user_service.handlers.grpc import ALLOWED_CALLERS, UserServicer
from user_service.handlers.http import auth, keys, me, users
from user_service.handlers.problems import PROBLEMS
from user_service.service.accounts import AccountService
from user_service.service.email_verification import EmailVerificationService
from user_service.service.ended_sessions import EndedSessionPublisher
from user_service.service.first_admin import FirstAdminRegistration
from user_service.service.login_guard import LoginGuard
from user_service.service.mail_tokens import MailTokens
from user_service.service.password_reset import PasswordResetService
from user_service.service.passwords import PasswordHasher
from user_service.service.published_events import PublishedEvents
from user_service.service.registration import RegistrationService
from user_service.service.sessions import SessionService
from user_service.service.signing import Signer, derive_key
from user_service.settings import Settings

SCHEMA = "0005"
_SWEEP_SECONDS = 3600
_PUBLISH_SECONDS = 1
_REDIS_SECONDS = 0.25
"""How long Redis may take to store ended sessions before they are stored in the background."""
_RESET_REQUEST_SECONDS = 0.3
"""The minimum response time of a password reset request: several times what the work takes if there is an account."""


async def build(settings: Settings, now: Callable[[], datetime] = utc_now) -> Service:
    backend = Backend("user", settings, SCHEMA, now)
    database, events, passwords = backend.database, PublishedEvents(backend.outbox, uuid7), PasswordHasher()
    session_lifetime = timedelta(seconds=settings.refresh_token_seconds)
    token_lifetime = min(timedelta(seconds=settings.access_token_seconds), session_lifetime)
    # During a rotation, other pods may make tokens with the previous secret or with the next one already.
    others = [secret for secret in (settings.jwt_secret_previous, settings.jwt_secret_next) if secret is not None]
    signer = Signer(settings.jwt_secret, token_lifetime, uuid7, others)
    store = EndedSessionStore(connect(settings.redis_url, settings.redis_ca), settings.tenant, _REDIS_SECONDS)
    ended = EndedSessionPublisher(database, store, token_lifetime, now)
    address_key, refresh_key = (
        derive_key(purpose, settings.jwt_secret) for purpose in ("addresses v1", "refresh tokens v1")
    )
    mail_keys = [derive_key("mailed tokens v1", secret) for secret in (settings.jwt_secret, *others)]
    guard = LoginGuard(database, passwords, _lockout_policies(settings), address_key, now)
    mail_tokens = MailTokens(database, guard, _mail_token_policy(settings), mail_keys, now, uuid7)
    sessions = SessionService(
        database, guard, signer, events, ended, session_lifetime, now, secrets.token_bytes, refresh_key
    )
    registration = RegistrationService(database, passwords, guard, sessions, mail_tokens, events, now)
    password_reset = PasswordResetService(
        database, passwords, guard, mail_tokens, events, ended, now, _RESET_REQUEST_SECONDS
    )
    email_verification = EmailVerificationService(database, guard, mail_tokens, events, now)
    accounts = AccountService(database, passwords, guard, events, ended, now)
    callers = CallerDependencies(Authenticator(TokenVerifier(signer.fetch_jwks)), sessions)
    routers = [
        auth.routes(registration, sessions, password_reset, email_verification),
        me.routes(sessions, accounts, email_verification, callers),
        users.routes(accounts, callers),
        keys.routes(signer),
    ]
    checks = [database.is_ready]
    changes = ChangeCount(database)

    background = {
        **backend.loops(),
        "change counts": repeat_every(COMPACTION_INTERVAL_SECONDS, changes.compact),
        "ended sessions": repeat_every(_PUBLISH_SECONDS, ended.publish_pending),
        "sweep ended sessions": repeat_every(_SWEEP_SECONDS, ended.delete_expired),
        "sweep sessions": repeat_every(_SWEEP_SECONDS, sessions.delete_expired),
        "sweep mail requests": repeat_every(_SWEEP_SECONDS, mail_tokens.delete_expired),
        "sweep failures": repeat_every(_SWEEP_SECONDS, guard.delete_expired),
    }
    if settings.admin_email is not None and settings.admin_password is not None:
        first_admin = FirstAdminRegistration(
            accounts, settings.admin_email, settings.admin_password, database, settings.admin_password_previous
        )
        background["first admin"] = first_admin.run
        checks.append(first_admin.is_registered)
    ready = Readiness(*checks)
    return Service(
        http=create_app("User", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(
            settings.grpc_port,
            PROBLEMS,
            [UserServicer(accounts, mail_tokens, signer, changes).register],
            CallerAuthorization.of(ALLOWED_CALLERS, settings),
        ),
        background=background,
        closers=(passwords.close, store.close, backend.close),
    )


def _lockout_policies(settings: Settings) -> LockoutPolicies:
    initial = timedelta(seconds=settings.login_wait_seconds)
    longest = max(initial, timedelta(seconds=settings.login_wait_max_seconds))
    allowed = max(settings.login_failures_allowed, settings.login_failures_account_allowed)
    return LockoutPolicies(
        network=LockoutPolicy(settings.login_failures_allowed, initial, longest),
        account=LockoutPolicy(allowed, initial, max_wait=initial),
    )


def _mail_token_policy(settings: Settings) -> MailTokenPolicy:
    return MailTokenPolicy(
        verification_lifetime=timedelta(seconds=settings.verification_token_seconds),
        reset_lifetime=timedelta(seconds=settings.reset_token_seconds),
        max_requests=settings.mails_per_hour,
        window=timedelta(hours=1),
    )


PROGRAM = Program("user", Settings, build)
