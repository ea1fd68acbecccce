"""The composition root: builds the whole service by hand."""

import random
from datetime import timedelta
from email.headerregistry import Address as MailAddress
from email.utils import parseaddr
from typing import Annotated, Literal

from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service, repeat_every
from chassis.settings import Address, BackendSettings, HttpUrl, Port
from chassis.types.ids import uuid7
from pydantic import Field, ValidationInfo, field_validator

from notification_service.clients.mail import LogMailer, Mailer, SmtpMailer, SmtpServer
from notification_service.clients.sms import LogTexter, Texter, TwilioAccount
from notification_service.clients.users import GrpcUsers
from notification_service.domain.delivery import Patience
from notification_service.handlers.events import effects
from notification_service.handlers.http import callbacks, routes
from notification_service.handlers.problems import PROBLEMS
from notification_service.service.composing import Composer, Shop
from notification_service.service.history import History
from notification_service.service.notifying import Notifying
from notification_service.service.sending import Pace, Sending
from notification_service.service.templates import Catalogue

SCHEMA = "0004"
_HOUR = 3600.0
_MEASURE_SECONDS = 5.0
_Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BackendSettings):
    user_grpc: Address
    shop_name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\r\n]+$")] = "Shop"
    shop_url: HttpUrl = "http://localhost:8080"
    """Where the links of our messages lead."""

    smtp_host: str | None = None
    """Unset: mails are made and go no further."""
    smtp_port: Port = 587
    smtp_starttls: bool = True
    smtp_ca_file: str | None = None
    """Certificates that the mail server's is trusted by; unset, the system's."""
    smtp_user: str | None = None
    smtp_password: str | None = Field(default=None, repr=False, validate_default=True)
    smtp_from: str | None = Field(default=None, validate_default=True)
    smtp_timeout_seconds: _Seconds = 15.0
    """For one answer of the mail server."""

    sms_provider: Literal["log", "twilio"] = "log"
    twilio_account_sid: str | None = Field(default=None, validate_default=True)
    twilio_auth_token: str | None = Field(default=None, validate_default=True, repr=False)
    twilio_from: str | None = Field(default=None, validate_default=True)
    twilio_api_base: HttpUrl = "https://api.twilio.com"
    twilio_status_callback: HttpUrl | None = None
    """The public address of /api/v1/webhooks/twilio; unset, text messages are sent and never known to have arrived."""

    send_concurrency: Annotated[int, Field(ge=1, le=50)] = 4
    send_attempts: Annotated[int, Field(ge=1, le=50)] = 12
    """Of those that say something about the message. A carrier that is away, or refuses our login, costs none."""
    send_retry_seconds: _Seconds = 15.0
    """The pause after the first failed attempt; it doubles up to an hour."""
    send_give_up_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 72.0
    """However long its carrier is away, a message that is younger is not given up."""
    send_lease_seconds: _Seconds = 120.0
    """After this, what a process that died was sending is taken up by another."""
    send_idle_seconds: _Seconds = 1.0
    history_retention_days: Annotated[float, Field(gt=0, le=3650)] = 180.0

    @field_validator("smtp_password")
    @classmethod
    def _login_is_whole_and_encrypted(cls, password: str | None, known: ValidationInfo) -> str | None:
        user = known.data.get("smtp_user")
        if (user is None) != (password is None):
            raise ValueError("set SMTP_USER and SMTP_PASSWORD both, or neither")
        if user is not None and not known.data.get("smtp_starttls", True):
            raise ValueError("a password is not sent in the clear: set SMTP_STARTTLS=true, or unset SMTP_USER")
        return password

    @field_validator("smtp_from")
    @classmethod
    def _sender_is_an_address(cls, sender: str | None, known: ValidationInfo) -> str | None:
        if sender is None and known.data.get("smtp_host") is not None:
            raise ValueError("SMTP_HOST is set, so write the address that mails come from")
        if sender is not None:
            _check_address(sender)
        return sender

    @field_validator("twilio_account_sid", "twilio_auth_token", "twilio_from")
    @classmethod
    def _twilio_is_whole(cls, value: str | None, known: ValidationInfo) -> str | None:
        if value is None and known.data.get("sms_provider") == "twilio":
            raise ValueError("SMS_PROVIDER is twilio, so it must be set")
        return value


def _check_address(sender: str) -> None:
    """Raises ValueError unless it is `shop@example.com` or `The shop <shop@example.com>`."""
    name, address = parseaddr(sender)
    try:
        whole = MailAddress(name, addr_spec=address)
    except (ValueError, IndexError):
        raise ValueError("write shop@example.com or The shop <shop@example.com>") from None
    if not whole.username or not whole.domain or not address.isascii() or not sender.isprintable():
        raise ValueError("write shop@example.com or The shop <shop@example.com>")


async def build(settings: Settings) -> Service:
    backend = Backend("notification", settings, SCHEMA)
    database = backend.database
    channel = open_channel(settings.user_grpc)
    users = GrpcUsers(channel)
    catalogue = Catalogue()
    account = _account(settings)
    texter = _texter(account)
    sending = Sending(
        database,
        users,
        Composer(catalogue, users, Shop(settings.shop_name, settings.shop_url)),
        _mailer(settings),
        texter,
        _patience(settings),
        Pace(settings.send_concurrency, timedelta(seconds=settings.send_lease_seconds), settings.send_idle_seconds),
        backend.now,
        uuid7,
        random.random,
    )
    history = History(database, timedelta(days=settings.history_retention_days), backend.now)
    auth = Authenticator(TokenVerifier(fetch_keys_from(channel)))
    ready = Readiness(database.is_ready)

    routers = [routes(history, auth), callbacks(history, account)]
    return Service(
        http=create_app("Notifications", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(settings.grpc_port, PROBLEMS, []),
        background={
            **backend.loops(effects(Notifying(catalogue, backend.now, uuid7)), on_commit=sending.wake),
            "sending": sending.run,
            "measuring": repeat_every(_MEASURE_SECONDS, history.measure),
            "pruning": repeat_every(_HOUR, history.prune),
        },
        closers=(channel.close, texter.close, backend.close),
    )


def _mailer(settings: Settings) -> Mailer:
    if settings.smtp_host is None or settings.smtp_from is None:
        return LogMailer()
    server = SmtpServer(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_starttls,
        settings.smtp_user,
        settings.smtp_password,
        settings.smtp_ca_file,
    )
    return SmtpMailer(server, settings.smtp_from, settings.shop_name, settings.smtp_timeout_seconds)


def _texter(account: TwilioAccount | None) -> Texter:
    if account is None:
        return LogTexter()
    from notification_service.clients.twilio import (
        TwilioTexter,  # only who has an account needs it, and it costs memory
    )

    return TwilioTexter(account)


def _account(settings: Settings) -> TwilioAccount | None:
    sid, token, sender = settings.twilio_account_sid, settings.twilio_auth_token, settings.twilio_from
    if settings.sms_provider != "twilio" or sid is None or token is None or sender is None:
        return None
    return TwilioAccount(sid, token, sender, settings.twilio_api_base, settings.twilio_status_callback)


def _patience(settings: Settings) -> Patience:
    return Patience(
        settings.send_attempts,
        timedelta(seconds=settings.send_retry_seconds),
        timedelta(hours=1),
        timedelta(hours=settings.send_give_up_hours),
    )


PROGRAM = Program("notification", Settings, build)
