"""Storing a notification and sending its mail take a fixed number of statements."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from chassis.database.engine import Database
from chassis.types.ids import UserId, uuid7
from chassis_testing.databases import SqlConnection, connect_to, migrated_database
from chassis_testing.sent_statements import SentStatements, sent_statements
from chassis_testing.waiting import eventually
from notification_harness import order_placed
from notification_service.app import SCHEMA
from notification_service.clients.mime import Mail
from notification_service.clients.users import Contact, MailToken
from notification_service.domain.delivery import ACCEPTED, RetryPolicy, SendResult
from notification_service.domain.errors import TokenGone
from notification_service.handlers import consumers
from notification_service.service.delivery import DeliveryService, SendLimits
from notification_service.service.message_dispatcher import MessageDispatcher, Senders
from notification_service.service.message_renderer import MessageRenderer, Shop
from notification_service.service.notification_recorder import NotificationRecorder
from notification_service.service.templates import TemplateLibrary

_MINUTE = timedelta(minutes=1)


class OneUser:
    async def contact(self, user_id: UserId) -> Contact:
        return Contact("ada@example.com", "Ada", "en", "")

    async def mail_token(self, request_id: str) -> MailToken:
        raise TokenGone

    async def replaced_email(self, change_id: str) -> str:
        return ""


class AcceptingServer:
    async def send(self, mail: Mail) -> SendResult:
        return ACCEPTED

    async def close(self) -> None:
        """Does nothing."""


@dataclass
class Delivery:
    """The use cases from an event to its mail. The delivery looks for mails when it is woken, and once a minute."""

    sent: SentStatements
    database: Database
    recorder: NotificationRecorder
    service: DeliveryService
    sql: SqlConnection

    async def store(self, orders: int = 1) -> None:
        causes = [consumers.order_placed(order_placed(1)) for _ in range(orders)]
        async with self.database.begin() as transaction:
            await self.recorder.record(transaction, causes)

    async def send(self) -> None:
        """Wakes the delivery, and returns once all mails are sent."""
        self.service.wake()
        await eventually(self._are_sent)

    async def _are_sent(self) -> bool:
        return not await self.sql.fetchval("SELECT count(*) FROM notifications WHERE status <> 'sent'")


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def delivery() -> AsyncIterator[Delivery]:
    """The use cases, which have run once, so that nothing is prepared or looked up later."""
    async with (
        migrated_database("notification_service") as settings,
        sent_statements(settings) as (sent, proxied),
        connect_to(settings) as sql,
    ):
        database, templates, users = Database(proxied, SCHEMA), TemplateLibrary(), OneUser()
        renderer = MessageRenderer(templates, users, Shop("Nordlicht", "https://shop.example"))
        service = DeliveryService(
            database,
            MessageDispatcher(database, users, renderer, Senders(AcceptingServer(), None)),
            RetryPolicy(max_attempts=1, base_delay=_MINUTE, max_delay=_MINUTE, max_age=_MINUTE),
            SendLimits(concurrency=1, lease=_MINUTE, idle_seconds=60),
            _now,
            uuid7,
            lambda: 0.0,
        )
        opened = Delivery(sent, database, NotificationRecorder(templates, _now, uuid7), service, sql)
        running = asyncio.create_task(service.run())
        await opened.store()
        await opened.send()
        sent.clear()
        yield opened
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await database.close()


_LEASED = ["WITH"]
_PREFERENCES_READ = ["SELECT"]
_ATTEMPT_BEGUN = ["WITH"]
_CONCLUDED = ["WITH"]
_SENT = [*_LEASED, *_PREFERENCES_READ, *_ATTEMPT_BEGUN, *_CONCLUDED]


async def test_notifications_are_stored_by_three_statements(delivery: Delivery) -> None:
    await delivery.store(orders=3)

    assert delivery.sent.verbs == ["BEGIN", "SELECT", "SELECT", "INSERT", "COMMIT"]


async def test_a_mail_takes_four_statements_and_no_search_that_finds_nothing(delivery: Delivery) -> None:
    for _ in range(2):
        await delivery.store()
        delivery.sent.clear()

        await delivery.send()

        assert delivery.sent.verbs == _SENT


async def test_mails_that_are_due_at_the_same_time_are_sent_by_one_wake(delivery: Delivery) -> None:
    await delivery.store(orders=3)
    delivery.sent.clear()

    await delivery.send()

    assert delivery.sent.verbs == [*_SENT, *_SENT, *_SENT]
