"""Sends SMS by Twilio's REST API. https://www.twilio.com/docs/messaging/api/message-resource"""

import base64
from collections.abc import Mapping

import aiohttp

from notification_service.clients.sms import Sms, TwilioAccount
from notification_service.domain.delivery import Outcome, SendResult, provider_unavailable


class TwilioSmsSender:
    """Sends SMS through Twilio.

    Twilio has no idempotency keys: a request whose connection broke after it was sent may have been executed.
    """

    def __init__(self, account: TwilioAccount, timeout: float = 10.0) -> None:
        """`timeout` is in seconds, for one request; connecting may take half of it."""
        self._account = account
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=timeout / 2)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, sms: Sms) -> SendResult:
        account = self._account
        sender = {"MessagingServiceSid" if account.sender.startswith("MG") else "From": account.sender}
        form = {"To": sms.recipient, "Body": sms.body, **sender}
        if account.status_callback is not None:
            form["StatusCallback"] = account.callback_url(sms.id)
        url = f"{account.base.rstrip('/')}/2010-04-01/Accounts/{account.sid}/Messages.json"
        try:
            async with self._open_session().post(url, data=form, allow_redirects=False) as response:
                return _result(response.status, await _json(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return provider_unavailable("connection")
        except (aiohttp.ClientError, OSError, TimeoutError):
            return SendResult(Outcome.UNKNOWN, "connection_lost")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        """Returns the session. It is created on first use, in the event loop that uses it."""
        if self._session is None:
            login = base64.b64encode(f"{self._account.sid}:{self._account.auth_token}".encode()).decode()
            self._session = aiohttp.ClientSession(headers={"Authorization": f"Basic {login}"}, timeout=self._timeout)
        return self._session


async def _json(response: aiohttp.ClientResponse) -> Mapping[str, object]:
    try:
        content = await response.json(content_type=None)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _result(status: int, body: Mapping[str, object]) -> SendResult:
    """Returns what Twilio's response means for the SMS.

    A number that cannot be reached, or that opted out, is a permanent failure. A rejected login is an error of our
    configuration, which an operator may correct; too many requests and Twilio's own errors pass. It is not certain that
    Twilio sent no SMS when it answers with an error of its own, so those attempts count: the SMS is not repeated for
    days.
    """
    if 200 <= status < 300:
        sid = body.get("sid")
        return SendResult(Outcome.ACCEPTED, provider_id=sid if isinstance(sid, str) else None)
    code = body.get("code")
    error = f"twilio_{code}" if isinstance(code, int) else f"http_{status}"
    if status in (401, 403, 408, 429):
        return provider_unavailable(error)
    return SendResult(Outcome.PERMANENT if 400 <= status < 500 else Outcome.TRANSIENT, error)
