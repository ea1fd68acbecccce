"""Runs the notification service for tests, with a real SMTP server that can fail, a fake Twilio and fake users."""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import grpc
import httpx
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from chassis.database.engine import Database
from chassis.grpc.wire import CODE_KEY, timestamp
from chassis.http.authentication import Role
from chassis.messaging.events import Event
from chassis.runtime.backend import utc_now
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.broker import new_vhost, publish_events, recorded_events
from chassis_testing.callers import OWN_TOKENS
from chassis_testing.databases import SqlConnection, connect_to, migrated_database
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.message import Message
from grpc import aio
from notification_service.app import SCHEMA, build
from notification_service.domain.notifications import Cause
from notification_service.service.notification_recorder import NotificationRecorder
from notification_service.service.templates import TemplateLibrary
from notification_service.settings import Settings
from shopapi.events.v1 import events_pb2 as pb
from shopapi.money.v1 import money_pb2
from shopapi.user.v1 import user_pb2, user_pb2_grpc

ADMIN = 1
SMTP_USER = "shop"
SMTP_PASSWORD = "smtp-password-of-the-test"
TWILIO_SID = "AC0123456789"
TWILIO_TOKEN = "twilio-token-of-the-test"
CALLBACK = "https://shop.example/api/v1/webhooks/twilio"
AT = datetime(2026, 11, 22, 16, 5, tzinfo=UTC)


class FakeUsers(FakeUserService):
    """A fake user service. User n has the address `user<n>@example.com` unless a test sets another contact."""

    def __init__(self, issuer: TokenIssuer) -> None:
        super().__init__(issuer)
        self.is_unavailable = False
        self.contacts: dict[int, dict[str, str]] = {}
        self.gone: set[int] = set()
        self.used: set[str] = set()
        self.contact_calls = 0
        self.during_contact: dict[int, Callable[[], Awaitable[None]]] = {}
        """What the fake does, by user, before it answers the next call for that user's contact."""

    async def GetContact(  # noqa: N802 - the contract's name
        self, request: user_pb2.GetContactRequest, context: Any
    ) -> user_pb2.GetContactResponse:
        self.contact_calls += 1
        if request.user_id in self.during_contact:
            await self.during_contact.pop(request.user_id)()
        if self.is_unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable")
        if request.user_id in self.gone:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such user", ((CODE_KEY, "unknown_user"),))
        known = {"email": address_of(request.user_id), "display_name": f"User {request.user_id}", "locale": "en"}
        return user_pb2.GetContactResponse(user_id=request.user_id, **(known | self.contacts.get(request.user_id, {})))

    async def GetMailToken(  # noqa: N802 - the contract's name
        self, request: user_pb2.GetMailTokenRequest, context: Any
    ) -> user_pb2.GetMailTokenResponse:
        if request.request_id in self.used:
            await context.abort(grpc.StatusCode.NOT_FOUND, "used", ((CODE_KEY, "unknown_request"),))
        return user_pb2.GetMailTokenResponse(token=token_of(request.request_id), email=_addresses[request.request_id])

    async def GetReplacedEmail(  # noqa: N802 - the contract's name
        self, request: user_pb2.GetReplacedEmailRequest, context: Any
    ) -> user_pb2.GetReplacedEmailResponse:
        if request.request_id in self.used:
            await context.abort(grpc.StatusCode.NOT_FOUND, "forgotten", ((CODE_KEY, "unknown_mail_request"),))
        return user_pb2.GetReplacedEmailResponse(email=former_address(request.request_id))


def former_address(request_id: str) -> str:
    """Returns the address that a change of an address has replaced."""
    return f"former-{request_id}@example.com"


_addresses: dict[str, str] = {}
"""The address that the token of a request verifies, by the request's id."""


def _token_request(user: int, request_id: str | None) -> str:
    request_id = request_id or str(uuid7())
    _addresses[request_id] = address_of(user)
    return request_id


def address_of(user: int) -> str:
    return f"user{user}@example.com"


def token_of(request_id: str) -> str:
    return f"secret-{request_id}-token"


DataHandler = Callable[[SMTP], Awaitable[str]]
"""Replaces the server's acceptance of a message, and returns the server's reply."""


@dataclass
class Mailbox:
    """The mails that a mail server received, and how it handles the next mails to an address."""

    port: int
    ca_file: str
    mails: list[tuple[str, EmailMessage]] = field(default_factory=list)
    rcpt_replies: dict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    data_handlers: dict[str, deque[DataHandler]] = field(default_factory=lambda: defaultdict(deque))
    mail_replies: deque[str] = field(default_factory=deque)
    was_encrypted: bool = False
    served: list[SMTP] = field(default_factory=list)
    """Every connection of a client."""
    has_quit: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def serve(self, **options: Any) -> SMTP:
        self.served.append(SMTP(self, hostname="mail.test", loop=asyncio.get_running_loop(), **options))
        return self.served[-1]

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.mail_replies:
            return self.mail_replies.popleft()
        envelope.mail_from = address
        return "250 OK"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.has_quit.set()
        return "221 Bye"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.rcpt_replies[address]:
            return self.rcpt_replies[address].popleft()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        (address,) = envelope.rcpt_tos
        self.was_encrypted = session.ssl is not None
        handler = self.data_handlers[address].popleft() if self.data_handlers[address] else None
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append((address, message))
        return await handler(server) if handler else "250 OK"

    def to(self, user: int) -> list[EmailMessage]:
        return self.to_address(address_of(user))

    def to_address(self, recipient: str) -> list[EmailMessage]:
        return [message for address, message in self.mails if address == recipient]

    async def disconnect(self, server: SMTP) -> str:
        """Accepts the mail, but breaks the connection before the reply."""
        assert isinstance(server.transport, asyncio.WriteTransport)
        server.transport.abort()
        return "250 OK"

    async def hang(self, server: SMTP) -> str:
        await self.stopping.wait()
        return "250 OK"


def reply(text: str) -> DataHandler:
    async def handler(_server: SMTP) -> str:
        return text

    return handler


@asynccontextmanager
async def mail_server(folder: Path, starttls: bool = True) -> AsyncIterator[Mailbox]:
    """Runs a real SMTP server that requires STARTTLS and AUTH, or that offers neither."""
    ca_file, context = certificate(folder)
    mailbox = Mailbox(0, ca_file)
    options: dict[str, Any] = {}
    if starttls:
        options = {"tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": _login}
    server = await asyncio.get_running_loop().create_server(lambda: mailbox.serve(**options), "127.0.0.1", 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        mailbox.stopping.set()
        server.close()


def _login(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: LoginPassword | Any
) -> AuthResult:
    is_ours = isinstance(login, LoginPassword) and login == LoginPassword(SMTP_USER.encode(), SMTP_PASSWORD.encode())
    return AuthResult(success=is_ours, handled=False)


def certificate(folder: Path) -> tuple[str, ssl.SSLContext]:
    """Creates a self-signed certificate for 127.0.0.1. Returns the file to trust and the server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "mail.crt", folder / "mail.key"
    chain.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    return str(chain), context


@dataclass
class FakeTwilio:
    """Twilio's Messages resource, as documented: the requests that it received, and its next responses by number."""

    base: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)
    refused_logins: int = 0
    responses: dict[str, deque[tuple[int, dict[str, object]] | None]] = field(
        default_factory=lambda: defaultdict(deque)
    )
    """Each a status and a body; None breaks the connection after the request was read."""

    async def create(self, request: web.Request) -> web.StreamResponse:
        form = dict(parse_qsl(await request.text()))
        if request.headers.get("Authorization") != httpx.BasicAuth(TWILIO_SID, TWILIO_TOKEN)._auth_header:
            self.refused_logins += 1
            return web.json_response({"code": 20003, "message": "Authenticate", "status": 401}, status=401)
        self.messages.append(form)
        response = self.responses[form["To"]].popleft() if self.responses[form["To"]] else (201, {"sid": "SM1"})
        if response is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, body = response
        return web.json_response({**body, "status": status}, status=status)

    def to(self, number: str) -> list[dict[str, str]]:
        return [form for form in self.messages if form["To"] == number]


@asynccontextmanager
async def twilio_server() -> AsyncIterator[FakeTwilio]:
    twilio = FakeTwilio()
    application = web.Application()
    application.router.add_post(f"/2010-04-01/Accounts/{TWILIO_SID}/Messages.json", twilio.create)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    twilio.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield twilio
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Environment:
    """Everything that the service connects to: its database, broker, neighbours and providers."""

    issuer: TokenIssuer
    users: FakeUsers
    mailbox: Mailbox
    twilio: FakeTwilio
    database: DatabaseSettings
    database_proxy: FaultProxy
    broker_url: str
    neighbours: str
    now: Callable[[], datetime] = utc_now
    """The service's clock."""

    def settings(self, **changes: object) -> Settings:
        """Returns settings with short delays, with the database behind the fault proxy."""
        values: dict[str, object] = {
            **self.database.model_dump(),
            "db_host": "127.0.0.1",
            "db_port": self.database_proxy.port,
            "rabbitmq_url": self.broker_url,
            "user_grpc": self.neighbours,
            "grpc_port": 0,
            "grpc_tokens": OWN_TOKENS,
            "shop_name": "Nordlicht",
            "shop_url": "https://shop.example",
            "smtp_host": "127.0.0.1",
            "smtp_port": self.mailbox.port,
            "smtp_user": SMTP_USER,
            "smtp_password": SMTP_PASSWORD,
            "smtp_from": "Nordlicht <noreply@shop.example>",
            "smtp_ca_file": self.mailbox.ca_file,
            "smtp_timeout_seconds": 5,
            "sms_provider": "twilio",
            "twilio_account_sid": TWILIO_SID,
            "twilio_auth_token": TWILIO_TOKEN,
            "twilio_from": "+15550001111",
            "twilio_api_base": self.twilio.base,
            "twilio_status_callback": CALLBACK,
            "send_retry_seconds": 0.02,
            "send_attempts": 3,
            "send_lease_seconds": 30,
            "send_idle_seconds": 0.05,
        }
        return Settings.model_validate(values | changes)

    def sql(self) -> AbstractAsyncContextManager[SqlConnection]:
        return connect_to(self.database)

    async def rows(self, user: int) -> list[Any]:
        async with self.sql() as sql:
            found = await sql.fetch("SELECT * FROM notifications WHERE user_id = $1 ORDER BY id", user)
            return list(found)

    async def attempts(self, user: int) -> list[tuple[str | None, str | None]]:
        query = (
            "SELECT outcome, error FROM attempts JOIN notifications ON notifications.id = notification_id"
            " WHERE user_id = $1 ORDER BY notification_id, number"
        )
        async with self.sql() as sql:
            return [(row["outcome"], row["error"]) for row in await sql.fetch(query, user)]

    async def publish(self, *payloads: Message) -> None:
        """Publishes events, and waits until the service has received them."""
        await self.publish_events([Event(uuid7(), "", datetime.now(UTC), payload, {}) for payload in payloads])

    async def publish_events(self, events: Sequence[Event]) -> None:
        await publish_events(self.broker_url, events)
        ids = {event.id for event in events}

        async def all_are_received() -> bool:
            async with self.sql() as sql:
                known = await sql.fetchval("SELECT count(*) FROM inbox WHERE event_id = ANY($1)", list(ids))
                return bool(known == len(ids))

        await eventually(all_are_received)

    async def store(self, *causes: Cause) -> None:
        """Stores notifications while no service runs that would send them."""
        database = Database(self.database, SCHEMA)
        recorder = NotificationRecorder(TemplateLibrary(), utc_now, uuid7)
        async with database.begin() as transaction:
            await recorder.record(transaction, causes)
        await database.close()

    async def wait_for_attempts(self, user: int, count: int) -> None:
        """Waits until a user's messages have had this many attempts, and none of them is running."""

        async def have_ended() -> bool:
            outcomes = [outcome for outcome, _error in await self.attempts(user)]
            return len(outcomes) >= count and None not in outcomes

        await eventually(have_ended)

    async def wait_for_status(self, user: int, status: str, count: int = 1) -> list[Any]:
        """Waits until a user has this many notifications, all with this status. Returns their rows."""

        async def have_status() -> bool:
            rows = await self.rows(user)
            return len(rows) == count and {row["status"] for row in rows} == {status}

        await eventually(have_status)
        return await self.rows(user)


@dataclass(frozen=True)
class RunningService:
    """The service, as it runs in an environment."""

    http: httpx.AsyncClient
    env: Environment

    def bearer(self, user: int, role: Role = Role.CUSTOMER) -> dict[str, str]:
        return self.env.issuer.bearer(user, role)

    @property
    def admin(self) -> dict[str, str]:
        return self.bearer(ADMIN, Role.ADMIN)

    async def notifications_of(self, user: int) -> list[dict[str, Any]]:
        response = await self.http.get("/api/v1/notifications?limit=100", headers=self.bearer(user))
        assert response.status_code == 200, response.text
        listed: list[dict[str, Any]] = response.json()["data"]
        return listed

    async def set_preferences(self, user: int, email: bool = True, sms: bool = False, stock: bool = True) -> None:
        body = {"order_updates": {"email": email, "sms": sms}, "stock_alerts": {"email": stock}}
        response = await self.http.put("/api/v1/notifications/preferences", json=body, headers=self.bearer(user))
        assert response.status_code == 200, response.text


@asynccontextmanager
async def environment(folder: Path) -> AsyncIterator[Environment]:
    issuer = TokenIssuer()
    users = FakeUsers(issuer)
    async with (
        migrated_database("notification_service") as database,
        fault_proxy(database.db_host, database.db_port) as database_proxy,
        new_vhost() as broker_url,
        recorded_events(broker_url, "notification"),
        mail_server(folder) as mailbox,
        twilio_server() as twilio,
        grpc_server(_adds(users)) as neighbours,
    ):
        yield Environment(issuer, users, mailbox, twilio, database, database_proxy, broker_url, neighbours)


@asynccontextmanager
async def running_service(env: Environment, **changes: object) -> AsyncIterator[RunningService]:
    async with run_service(await build(env.settings(**changes), env.now)) as service:
        yield RunningService(service.http, env)


def _adds(users: FakeUsers) -> Callable[[aio.Server], None]:
    return lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(users, server)


def euros(amount: int) -> money_pb2.Money:
    return money_pb2.Money(amount=amount, currency="EUR")


def order_placed(user: int, order_id: str | None = None, name: str = "Lamp") -> pb.OrderPlaced:
    line = pb.OrderLine(product_id=5, quantity=2, unit_price=euros(1250), name=name, seller_id=7)
    return pb.OrderPlaced(
        order_id=order_id or str(uuid7()),
        buyer_id=user,
        lines=[line],
        total=euros(2995),
        placed_at=timestamp(AT),
        expires_at=timestamp(AT + timedelta(minutes=30)),
    )


def order_confirmed(user: int) -> pb.OrderConfirmed:
    line = pb.OrderLine(product_id=5, quantity=2, unit_price=euros(1250), name="Lamp", seller_id=7)
    return pb.OrderConfirmed(
        order_id=str(uuid7()), buyer_id=user, lines=[line], total=euros(2500), confirmed_at=timestamp(AT)
    )


def order_shipped(user: int) -> pb.OrderShipped:
    return pb.OrderShipped(
        order_id=str(uuid7()), buyer_id=user, carrier="DHL", tracking_number="JD0123", shipped_at=timestamp(AT)
    )


def order_cancelled(user: int) -> pb.OrderCancelled:
    return pb.OrderCancelled(
        order_id=str(uuid7()),
        buyer_id=user,
        reason=pb.CANCEL_REASON_EXPIRED,
        cancelled_at=timestamp(AT),
        total=euros(2995),
    )


def payment_refunded(user: int) -> pb.PaymentRefunded:
    return pb.PaymentRefunded(
        refund_id=str(uuid7()),
        payment_id=str(uuid7()),
        order_id=str(uuid7()),
        buyer_id=user,
        amount=euros(500),
        refunded_total=euros(1500),
        refunded_at=timestamp(AT),
    )


def stock_low(user: int, at: datetime = AT) -> pb.StockLow:
    return pb.StockLow(product_id=77, seller_id=user, available=2, threshold=5, at=timestamp(at))


def user_registered(user: int, request_id: str | None = None) -> pb.UserRegistered:
    return pb.UserRegistered(user_id=user, request_id=_token_request(user, request_id), registered_at=timestamp(AT))


def verification_requested(user: int, request_id: str | None = None) -> pb.EmailVerificationRequested:
    return pb.EmailVerificationRequested(
        user_id=user, request_id=_token_request(user, request_id), expires_at=timestamp(AT)
    )


def reset_requested(user: int, request_id: str | None = None) -> pb.PasswordResetRequested:
    return pb.PasswordResetRequested(
        user_id=user, request_id=_token_request(user, request_id), expires_at=timestamp(AT)
    )


def password_changed(user: int) -> pb.PasswordChanged:
    return pb.PasswordChanged(user_id=user, change_id=str(uuid7()), changed_at=timestamp(AT))


def email_changed(user: int) -> pb.EmailChanged:
    return pb.EmailChanged(user_id=user, request_id=str(uuid7()), changed_at=timestamp(AT))


def new_device_login(user: int) -> pb.NewDeviceLogin:
    return pb.NewDeviceLogin(user_id=user, session_id=str(uuid7()), logged_in_at=timestamp(AT))


def user_erased(user: int) -> pb.UserErased:
    return pb.UserErased(user_id=user, erased_at=timestamp(AT))


def body_of(message: EmailMessage, kind: str) -> str:
    """Returns the text (`plain`) or the HTML (`html`) of a mail."""
    part = message.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content


def id_of(message: EmailMessage) -> UUID:
    """Returns the id of a mail's notification, which is in its Message-ID."""
    return UUID(str(message["Message-ID"]).strip("<>").partition("@")[0])
