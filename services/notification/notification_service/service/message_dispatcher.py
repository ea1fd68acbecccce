"""Chooses the sender of a notification and renders its message."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from chassis.database.engine import Database

from notification_service.clients.mail import MailSender
from notification_service.clients.sms import SmsSender
from notification_service.clients.users import Users
from notification_service.domain.delivery import SendResult
from notification_service.domain.errors import ChannelUnavailable
from notification_service.domain.notifications import Channel, Notification, Reason
from notification_service.repository.recipients import RecipientRepository
from notification_service.service.message_renderer import MessageRenderer

Send = Callable[[], Awaitable[SendResult]]
"""Sends a message that is rendered."""


@dataclass(frozen=True, slots=True)
class Senders:
    """The sender of each channel."""

    mail: MailSender
    sms: SmsSender


class MessageDispatcher:
    """Prepares the message of a notification."""

    def __init__(self, database: Database, users: Users, renderer: MessageRenderer, senders: Senders) -> None:
        self._database = database
        self._users = users
        self._renderer = renderer
        self._senders = senders

    async def prepare(self, notification: Notification, at: datetime) -> Send:
        """Renders the message, with `at` as its date, and returns the function that sends it.

        Raises RecipientGone, TokenGone, ChannelUnavailable, NeighbourUnavailable, and any error of a template.
        """
        contact = await self._users.contact(notification.user_id)
        async with self._database.begin() as transaction:
            preferences = await RecipientRepository(transaction).preferences(notification.user_id)
        if not preferences.allow(notification.kind, notification.channel):
            raise ChannelUnavailable(Reason.SWITCHED_OFF)
        if notification.channel is Channel.EMAIL:
            mail = await self._renderer.mail(notification, contact, at)
            return lambda: self._senders.mail.send(mail)
        if not contact.phone:
            raise ChannelUnavailable(Reason.NO_PHONE)
        sms = await self._renderer.sms(notification, contact)
        return lambda: self._senders.sms.send(sms)
