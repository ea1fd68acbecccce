"""The settings of the notification service, read from environment variables."""

from email.errors import MessageError
from email.headerregistry import Address as MailAddress
from email.utils import parseaddr
from typing import Annotated, Literal

from chassis.settings import Address, BackendSettings, GrpcCallerSettings, HttpUrl, Port
from pydantic import Field, ValidationInfo, field_validator

_Seconds = Annotated[float, Field(gt=0, le=86_400)]
_SENDER_FORMAT = "write shop@example.com or The shop <shop@example.com>"


class Settings(BackendSettings, GrpcCallerSettings):
    user_grpc: Address
    """The gRPC address of the user service, for contacts, one-time tokens and the keys that verify access tokens."""
    shop_name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\r\n]+$")] = "Shop"
    """The name of the shop in every message."""
    shop_url: HttpUrl = "http://localhost:8080"
    """The URL of the shop's pages, to which the links in messages lead."""

    smtp_host: str | None = None
    """The host of the mail server. Unset: no mail is sent, and notifications end as `not_sent`."""
    smtp_port: Port = 587
    """The port of the mail server. The default is the submission port of RFC 6409."""
    smtp_starttls: bool = True
    """True if the connection must be encrypted with STARTTLS before anything is sent."""
    smtp_ca_file: str | None = None
    """A file of certificates that verify the mail server's. Unset: the system's certificates."""
    smtp_user: str | None = None
    """The user name for the mail server. Unset: no login. Needs SMTP_PASSWORD and SMTP_STARTTLS."""
    smtp_password: str | None = Field(default=None, repr=False, validate_default=True)
    """The password for the mail server. Needs SMTP_USER."""
    smtp_from: str | None = Field(default=None, validate_default=True)
    """The sender of all mails, with or without a name. Required if SMTP_HOST is set."""
    smtp_timeout_seconds: _Seconds = 15.0
    """How long the mail server may take for one reply; a whole session may take four times that."""

    sms_provider: Literal["log", "twilio"] = "log"
    """The provider of SMS. `log`: no SMS is sent, and notifications end as `not_sent`."""
    twilio_account_sid: str | None = Field(default=None, validate_default=True)
    """The id of the Twilio account. Required if SMS_PROVIDER is twilio."""
    twilio_auth_token: str | None = Field(default=None, validate_default=True, repr=False)
    """The secret of the Twilio account, which also verifies its callbacks. Required if SMS_PROVIDER is twilio."""
    twilio_from: str | None = Field(default=None, validate_default=True)
    """The sender of SMS: a number in E.164, or the id of a messaging service (MG…).

    Required if SMS_PROVIDER is twilio.
    """
    twilio_api_base: HttpUrl = "https://api.twilio.com"
    """The URL of Twilio's API."""
    twilio_status_callback: HttpUrl | None = None
    """The public URL of /api/v1/webhooks/twilio. Unset: SMS are sent, but their delivery is not reported."""

    send_concurrency: Annotated[int, Field(ge=1, le=50)] = 4
    """How many messages one process sends at once."""
    send_attempts: Annotated[int, Field(ge=1, le=50)] = 12
    """After how many attempts a notification fails.

    An attempt does not count if the provider was unavailable or rejected our login.
    """
    send_retry_seconds: _Seconds = 15.0
    """The delay after the first failed attempt; it doubles with each attempt, up to an hour."""
    send_give_up_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 72.0
    """The age at which a pending notification fails. The default lasts over a weekend."""
    send_lease_seconds: _Seconds = 120.0
    """How long a notification is leased: after that, another process sends what a crashed process was sending."""
    send_idle_seconds: _Seconds = 1.0
    """How often an idle process looks for due notifications."""
    history_retention_days: Annotated[float, Field(gt=0, le=3650)] = 180.0
    """How long notifications are kept after they were created, unless they are pending."""

    @field_validator("smtp_password")
    @classmethod
    def _login_is_complete_and_encrypted(cls, password: str | None, known: ValidationInfo) -> str | None:
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
            _check_sender(sender)
        return sender

    @field_validator("twilio_account_sid", "twilio_auth_token", "twilio_from")
    @classmethod
    def _twilio_account_is_complete(cls, value: str | None, known: ValidationInfo) -> str | None:
        if value is None and known.data.get("sms_provider") == "twilio":
            raise ValueError("SMS_PROVIDER is twilio, so it must be set")
        return value


def _check_sender(sender: str) -> None:
    """Raises ValueError unless the sender is `shop@example.com` or `The shop <shop@example.com>`."""
    name, address = parseaddr(sender)
    try:
        parsed = MailAddress(name, addr_spec=address)
    except (MessageError, ValueError, IndexError):
        raise ValueError(_SENDER_FORMAT) from None
    if not parsed.username or not parsed.domain or not address.isascii() or not sender.isprintable():
        raise ValueError(_SENDER_FORMAT)
