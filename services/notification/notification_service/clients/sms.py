"""SMS, what sends them, and Twilio's account and its signatures.

https://www.twilio.com/docs/usage/security#validating-requests
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from chassis.observability import logs

from notification_service.domain.delivery import SendResult

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sms:
    """A rendered SMS. Its `repr` shows nothing that must not be logged."""

    id: UUID
    template: str
    recipient: str = field(repr=False)
    body: str = field(repr=False)


class SmsSender(Protocol):
    """Hands SMS to a provider."""

    async def send(self, sms: Sms) -> SendResult:
        """Sends an SMS. Never raises for a failure of the provider or the network: that is a result."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """The credentials and the sender of a Twilio account."""

    sid: str
    auth_token: str = field(repr=False)
    sender: str
    """A number in E.164, or the id of a messaging service (MG…)."""
    base: str = "https://api.twilio.com"
    status_callback: str | None = None
    """The URL to which Twilio reports the status of messages; None: it does not report."""

    def callback_url(self, notification_id: UUID) -> str:
        return f"{self.status_callback}?notification_id={notification_id}"

    def verify_signature(self, signature: str, notification_id: UUID, form: Mapping[str, str]) -> bool:
        """Returns whether Twilio signed a callback: HMAC-SHA1 of URL and sorted parameters, keyed with our token."""
        content = self.callback_url(notification_id) + "".join(f"{name}{form[name]}" for name in sorted(form))
        expected = hmac.new(self.auth_token.encode(), content.encode(), hashlib.sha1).digest()
        return hmac.compare_digest(base64.b64encode(expected), signature.encode())
