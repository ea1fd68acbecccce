"""Text messages: the port, a log for shops without a provider, and an account with Twilio.

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

from notification_service.domain.delivery import ACCEPTED, Outcome

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Text:
    """A text message ready to be sent. `repr` shows nothing that must not be in a log."""

    id: UUID
    template: str
    recipient: str = field(repr=False)
    body: str = field(repr=False)


class Texter(Protocol):
    async def send(self, text: Text) -> Outcome:
        """Never raises for what a provider or a network does: that is an outcome."""

    async def close(self) -> None: ...


class LogTexter:
    """Tells the log that a text message was made, and nothing of it."""

    async def send(self, text: Text) -> Outcome:
        log.info(
            "a text was made and not sent: SMS_PROVIDER is log", notification_id=str(text.id), template=text.template
        )
        return ACCEPTED

    async def close(self) -> None:
        """It keeps nothing open."""


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    sid: str
    auth_token: str = field(repr=False)
    sender: str
    """A number in E.164, or the id of a messaging service (MG…)."""
    base: str = "https://api.twilio.com"
    status_callback: str | None = None
    """Where Twilio tells what became of a message; unset, it is not asked to."""

    def callback_for(self, notification_id: UUID) -> str:
        return f"{self.status_callback}?notification_id={notification_id}"

    def has_signed(self, signature: str, notification_id: UUID, form: Mapping[str, str]) -> bool:
        """Whether a callback is Twilio's: HMAC-SHA1 over its URL and its sorted parameters, with our token as the key."""
        content = self.callback_for(notification_id) + "".join(f"{name}{form[name]}" for name in sorted(form))
        expected = hmac.new(self.auth_token.encode(), content.encode(), hashlib.sha1).digest()
        return hmac.compare_digest(base64.b64encode(expected), signature.encode())
