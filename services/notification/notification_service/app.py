"""The composition root: builds the service from its settings."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.observability import logs
from chassis.runtime.backend import Backend, utc_now
from chassis.runtime.process import Program, Service, repeat_every
from chassis.types.ids import uuid7

from notification_service.clients.mail import MailSender, SmtpMailSender, SmtpServer
from notification_service.clients.sms import SmsSender, TwilioAccount
from notification_service.clients.users import GrpcUsers
from notification_service.domain.delivery import RetryPolicy
from notification_service.handlers.consumers import event_handlers
from notification_service.handlers.http import callbacks, notifications, preferences
from notification_service.handlers.problems import PROBLEMS
from notification_service.service.delivery import DeliveryService, SendLimits
from notification_service.service.delivery_reports import DeliveryReportService
from notification_service.service.history import NotificationHistory
from notification_service.service.message_dispatcher import MessageDispatcher, Senders
from notification_service.service.message_renderer import MessageRenderer, Shop
from notification_service.service.notification_recorder import NotificationRecorder
from notification_service.service.preferences import PreferenceService
from notification_service.service.templates import TemplateLibrary
from notification_service.settings import Settings

SCHEMA = "0006"
_PRUNE_SECONDS = 3600.0
_MEASURE_SECONDS = 5.0
_MAX_RETRY_DELAY = timedelta(hours=1)

log = logs.get_logger(__name__)


async def build(settings: Settings, now: Callable[[], datetime] = utc_now) -> Service:
    backend = Backend("notification", settings, SCHEMA, now)
    database = backend.database
    channel = open_channel(settings.user_grpc, settings.grpc_tokens["user"])
    users = GrpcUsers(channel)
    templates = TemplateLibrary()
    account = _twilio_account(settings)
    senders = Senders(_mail_sender(settings), _sms_sender(account))
    renderer = MessageRenderer(templates, users, Shop(settings.shop_name, settings.shop_url))
    delivery = DeliveryService(
        database,
        MessageDispatcher(database, users, renderer, senders),
        _retry_policy(settings),
        _send_limits(settings),
        now,
        uuid7,
        random.random,
    )
    history = NotificationHistory(database, timedelta(days=settings.history_retention_days), now)
    auth = Authenticator(TokenVerifier(fetch_keys_from(channel)))
    ready = Readiness(database.is_ready)

    routers = [
        notifications.routes(history, auth),
        preferences.routes(PreferenceService(database), auth),
        callbacks.routes(DeliveryReportService(database, now), account),
    ]
    handlers = event_handlers(NotificationRecorder(templates, now, uuid7))
    return Service(
        http=create_app("Notifications", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(settings.grpc_port, PROBLEMS, []),
        background={
            **backend.loops(handlers, on_commit=delivery.wake),
            "sending": delivery.run,
            "measuring": repeat_every(_MEASURE_SECONDS, history.update_metrics),
            "pruning": repeat_every(_PRUNE_SECONDS, history.prune),
        },
        closers=(
            channel.close,
            *([senders.mail.close] if senders.mail else []),
            *([senders.sms.close] if senders.sms else []),
            backend.close,
        ),
    )


def _mail_sender(settings: Settings) -> MailSender | None:
    if settings.smtp_host is None or settings.smtp_from is None:
        log.warning("no mail is sent: SMTP_HOST is unset")
        return None
    server = SmtpServer(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_starttls,
        settings.smtp_user,
        settings.smtp_password,
        settings.smtp_ca_file,
    )
    return SmtpMailSender(server, settings.smtp_from, settings.shop_name, settings.smtp_timeout_seconds)


def _sms_sender(account: TwilioAccount | None) -> SmsSender | None:
    if account is None:
        return None
    # Only shops with an account need this module, and importing it costs memory.
    from notification_service.clients.twilio import TwilioSmsSender

    return TwilioSmsSender(account)


def _twilio_account(settings: Settings) -> TwilioAccount | None:
    sid, token, sender = settings.twilio_account_sid, settings.twilio_auth_token, settings.twilio_from
    if settings.sms_provider != "twilio" or sid is None or token is None or sender is None:
        return None
    return TwilioAccount(sid, token, sender, settings.twilio_api_base, settings.twilio_status_callback)


def _retry_policy(settings: Settings) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=settings.send_attempts,
        base_delay=timedelta(seconds=settings.send_retry_seconds),
        max_delay=_MAX_RETRY_DELAY,
        max_age=timedelta(hours=settings.send_give_up_hours),
    )


def _send_limits(settings: Settings) -> SendLimits:
    return SendLimits(
        concurrency=settings.send_concurrency,
        lease=timedelta(seconds=settings.send_lease_seconds),
        idle_seconds=settings.send_idle_seconds,
    )


PROGRAM = Program("notification", Settings, build)
