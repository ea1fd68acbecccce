"""Text messages by Twilio's REST API. https://www.twilio.com/docs/messaging/api/message-resource"""

import base64
from collections.abc import Mapping

import aiohttp

from notification_service.clients.sms import Text, TwilioAccount
from notification_service.domain.delivery import Outcome, Result, away


class TwilioTexter:
    """Twilio knows no idempotency keys: a request that broke off after it was sent may have been carried out."""

    def __init__(self, account: TwilioAccount, seconds: float = 10.0) -> None:
        self._account = account
        self._timeout = aiohttp.ClientTimeout(total=seconds, connect=seconds / 2)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, text: Text) -> Outcome:
        account = self._account
        sender = {"MessagingServiceSid" if account.sender.startswith("MG") else "From": account.sender}
        form = {"To": text.recipient, "Body": text.body, **sender}
        if account.status_callback is not None:
            form["StatusCallback"] = account.callback_for(text.id)
        url = f"{account.base.rstrip('/')}/2010-04-01/Accounts/{account.sid}/Messages.json"
        try:
            async with self._open().post(url, data=form, allow_redirects=False) as answer:
                return _outcome(answer.status, await _json(answer))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return away("connection")
        except (aiohttp.ClientError, OSError, TimeoutError):
            return Outcome(Result.UNKNOWN, "connection_lost")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        """Made on first use, in the loop that uses it."""
        if self._session is None:
            login = base64.b64encode(f"{self._account.sid}:{self._account.auth_token}".encode()).decode()
            self._session = aiohttp.ClientSession(headers={"Authorization": f"Basic {login}"}, timeout=self._timeout)
        return self._session


async def _json(answer: aiohttp.ClientResponse) -> Mapping[str, object]:
    try:
        content = await answer.json(content_type=None)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _outcome(status: int, answer: Mapping[str, object]) -> Outcome:
    """A number that cannot be reached, or whose owner said stop, is refused for good; a refused login is our configuration,
    which somebody may mend; too many requests and Twilio's own troubles pass. Of the last nobody knows for sure that they took no
    text, so those tries count: it is not repeated for days.
    """
    if 200 <= status < 300:
        sid = answer.get("sid")
        return Outcome(Result.ACCEPTED, provider_id=sid if isinstance(sid, str) else None)
    code = answer.get("code")
    error = f"twilio_{code}" if isinstance(code, int) else f"http_{status}"
    if status in (401, 403, 408, 429):
        return away(error)
    return Outcome(Result.PERMANENT if 400 <= status < 500 else Result.TRANSIENT, error)
