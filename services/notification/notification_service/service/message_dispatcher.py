"""Chooses the sender of a notification and renders its message."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from chassis.database.engine import Database

from notification_service.clients.mail import MailSender
from notification_service.clients.mime import Mail
from notification_service.clients.sms import Sms, SmsSender
from notification_service.clients.users import Users
from notification_service.domain.delivery import SendResult
from notification_service.domain.errors import ChannelUnavailable, NoProvider
from notification_service.domain.notifications import Channel, Notification, Reason
from notification_service.repository.recipients import PreferenceReader
from notification_service.service.message_renderer import MessageRenderer

Send = Callable[[], Awaitable[SendResult]]
"""Sends a message that is rendered."""


@dataclass(frozen=True, slots=True)
class Senders:
    """The sender of each channel; None: the shop has no provider for it."""

    mail: MailSender | None
    sms: SmsSender | None


class MessageDispatcher:
    """Prepares the message of a notification."""

    def __init__(self, database: Database, users: Users, renderer: MessageRenderer, senders: Senders) -> None:
        self._database = database
        self._users = users
        self._renderer = renderer
        self._senders = senders

    async def prepare(self, notification: Notification, at: datetime) -> Send:
        """Renders the message, with `at` as its date, and returns the function that sends it.

        Raises RecipientGone, TokenGone, ChannelUnavailable, NeighbourUnavailable, and any error of a template. Raises
        NoProvider last: a shop without providers renders its messages too, and so finds errors in its templates.
        """
        contact = await self._users.contact(notification.user_id)
        async with self._database.read() as connection:
            preferences = await PreferenceReader(connection).preferences(notification.user_id)
        if not preferences.allow(notification.kind, notification.channel):
            raise ChannelUnavailable(Reason.SWITCHED_OFF)
        if notification.channel is Channel.EMAIL:
            return self._mail_send(await self._renderer.mail(notification, contact, at))
        if not contact.phone:
            raise ChannelUnavailable(Reason.NO_PHONE)
        return self._sms_send(await self._renderer.sms(notification, contact))

    def _mail_send(self, mail: Mail) -> Send:
        sender = self._senders.mail
        if sender is None:
            raise NoProvider(Reason.NO_MAIL_SERVER)
        return lambda: sender.send(mail)

    def _sms_send(self, sms: Sms) -> Send:
        sender = self._senders.sms
        if sender is None:
            raise NoProvider(Reason.NO_SMS_PROVIDER)
        return lambda: sender.send(sms)
