"""What is due is sent: leased, composed, handed to its carrier, and settled. Any process may die anywhere; another goes on.

Four steps, a transaction at a time: the lease says who sends; the attempt is written down before the carrier hears of the message;
its outcome and the notification's new state are one commit. Dying before the attempt costs a lease's time; dying after it
leaves an attempt without an outcome, of which there are two at most (domain/delivery.py).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database.engine import Database
from chassis.errors import DatabaseUnavailable, NeighbourUnavailable
from chassis.observability import logs
from prometheus_client import Counter

from notification_service.clients.mail import Mailer
from notification_service.clients.sms import Texter
from notification_service.clients.users import Users
from notification_service.domain.delivery import Outcome, Patience, Result, Tries, Verdict, hopeless, judge
from notification_service.domain.errors import RecipientGone, TokenGone, Unwanted
from notification_service.domain.notifications import Channel, Notification, Reason, Status
from notification_service.repository.notifications import NotificationRepository
from notification_service.repository.recipients import RecipientRepository
from notification_service.service.composing import Composer

SENT = Counter(
    "notifications_sent_total", "Tries to hand a message to its carrier, by how they ended", ["template", "channel", "outcome"]
)  # fmt: skip
_PARTING_SECONDS = 8.0
"""How long a stopping process waits for messages that are with their carrier."""
_OF_A_LEASE = 0.8
"""A carrier that takes longer is given up: the message must not be another process's meanwhile."""
_UNFORESEEN = Outcome(Result.UNKNOWN, "unforeseen")
_COMPOSING_FAILED = Outcome(Result.TRANSIENT, "composing_failed")

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many messages are sent at a time, how long a lease lasts, and how often an idle process looks for work."""

    senders: int
    lease: timedelta
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class _Lease:
    id: UUID
    of: Notification


_HandOver = Callable[[], Awaitable[Outcome]]


class Sending:
    def __init__(
        self,
        database: Database,
        users: Users,
        composer: Composer,
        mailer: Mailer,
        texter: Texter,
        patience: Patience,
        pace: Pace,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        jitter: Callable[[], float],
    ) -> None:
        self._database = database
        self._users = users
        self._composer = composer
        self._mailer = mailer
        self._texter = texter
        self._patience = patience
        self._pace = pace
        self._now = now
        self._new_id = new_id
        self._jitter = jitter
        self._hint = asyncio.Event()

    def wake(self) -> None:
        """Says that a notification has just been stored, so that nobody waits until the table is looked at anyway."""
        self._hint.set()

    async def run(self) -> None:
        """Sends for ever, several at a time. Several processes may send from one table: each leases rows that no other has."""
        free = asyncio.Semaphore(self._pace.senders)
        async with asyncio.TaskGroup() as sending:
            while True:
                await free.acquire()
                lease, tries = await self._next()
                sending.create_task(self._send(lease, tries)).add_done_callback(lambda _: free.release())

    async def _next(self) -> tuple[_Lease, Tries]:
        """One that is due, the most urgent first; waits until there is one. However many are sent at a time, one look is enough."""
        while True:
            self._hint.clear()
            try:
                if leased := await self._lease_one():
                    return leased
            except DatabaseUnavailable as error:
                log.warning("notifications wait", reason=str(error))
            except Exception:
                log.exception("looking for notifications failed and goes on")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.idle_seconds):
                    await self._hint.wait()

    async def _lease_one(self) -> tuple[_Lease, Tries] | None:
        now, lease_id = self._now(), self._new_id()
        async with self._database.begin() as transaction:
            found = await NotificationRepository(transaction).lease(lease_id, now, now + self._pace.lease)
        if found is None:
            return None
        notification, tries = found
        return _Lease(lease_id, notification), tries

    async def _send(self, lease: _Lease, tries: Tries) -> None:
        """What fails here is tried again when its lease is over."""
        try:
            await _finished(asyncio.create_task(self._deliver(lease, tries)))
        except DatabaseUnavailable as error:
            log.warning("notifications wait", reason=str(error))
        except Exception:
            log.exception("a sender failed and others go on")

    async def _deliver(self, lease: _Lease, tries: Tries) -> None:
        notification = lease.of
        if verdict := hopeless(tries, self._now() - notification.waiting_since, self._patience):
            return await self._settle(lease, verdict)
        try:
            hand_over = await self._composed(notification)
        except NeighbourUnavailable as error:
            await self._defer(lease, str(error))
        except RecipientGone:
            await self._settle(lease, Verdict(Status.CANCELLED, Reason.RECIPIENT_GONE))
        except TokenGone:
            await self._settle(lease, Verdict(Status.CANCELLED, Reason.OBSOLETE))
        except Unwanted as unwanted:
            await self._settle(lease, Verdict(Status.CANCELLED, str(unwanted)))
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("a message could not be made", notification_id=str(notification.id))
            await self._try(lease, _failed_to_compose)
        else:
            await self._try(lease, hand_over)

    async def _composed(self, notification: Notification) -> _HandOver:
        """Raises RecipientGone, TokenGone, Unwanted, NeighbourUnavailable."""
        contact = await self._users.contact(notification.user_id)
        async with self._database.begin() as transaction:
            preferences = await RecipientRepository(transaction).preferences(notification.user_id)
        if not preferences.wants(notification.kind, notification.channel):
            raise Unwanted(Reason.SWITCHED_OFF)
        if notification.channel is Channel.EMAIL:
            mail = await self._composer.mail(notification, contact, self._now())
            return lambda: self._mailer.send(mail)
        if not contact.phone:
            raise Unwanted(Reason.NO_PHONE)
        text = await self._composer.text(notification, contact)
        return lambda: self._texter.send(text)

    async def _try(self, lease: _Lease, hand_over: _HandOver) -> None:
        notification, now = lease.of, self._now()
        async with self._database.begin() as transaction:
            number = await NotificationRepository(transaction).begin_attempt(
                notification, lease.id, now, now + self._pace.lease
            )
        if number is None:
            return  # erased, settled by a callback, or leased by another process since
        outcome = await _handed_over(notification, hand_over, _OF_A_LEASE * self._pace.lease)
        SENT.labels(notification.template, notification.channel, outcome.result).inc()
        await self._insist(lambda: self._conclude(lease, number, outcome), now + self._pace.lease)

    async def _conclude(self, lease: _Lease, number: int, outcome: Outcome) -> None:
        now = self._now()
        async with self._database.begin() as transaction:
            repository = NotificationRepository(transaction)
            tries = await repository.end_attempt(lease.of, number, outcome)
            verdict = judge(outcome, tries, self._patience, now, self._jitter)
            settled = await repository.settle(lease.of, lease.id, verdict, now, outcome.provider_id)
        if settled:
            _tell(lease.of, verdict, outcome.error)

    async def _insist(self, conclude: Callable[[], Awaitable[None]], until: datetime) -> None:
        """The message is out: a database that is away for a moment must not make us send it again."""
        while True:
            try:
                return await conclude()
            except DatabaseUnavailable:
                if self._now() >= until:
                    raise
            await asyncio.sleep(0.2 + 0.3 * self._jitter())

    async def _settle(self, lease: _Lease, verdict: Verdict) -> None:
        async with self._database.begin() as transaction:
            settled = await NotificationRepository(transaction).settle(lease.of, lease.id, verdict, self._now())
        if settled:
            _tell(lease.of, verdict, None)

    async def _defer(self, lease: _Lease, why: str) -> None:
        """A neighbour is away: that is no fault of the message, and costs it no attempt."""
        now = self._now()
        due_at = now + self._patience.wait(now - lease.of.waiting_since, self._jitter())
        log.info("a notification waits", notification_id=str(lease.of.id), reason=why)
        async with self._database.begin() as transaction:
            waiting = Verdict(Status.PENDING, None, due_at)
            await NotificationRepository(transaction).settle(lease.of, lease.id, waiting, now)


async def _finished(sending: "asyncio.Task[None]") -> None:
    """When this process stops, a message that is with its carrier gets a moment to be settled."""
    try:
        await asyncio.shield(sending)
    except asyncio.CancelledError:
        await asyncio.wait([sending], timeout=_PARTING_SECONDS)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        raise


async def _handed_over(notification: Notification, hand_over: _HandOver, within: timedelta) -> Outcome:
    """What nobody foresaw may have happened before or after the message went out."""
    try:
        async with asyncio.timeout(within.total_seconds()):
            return await hand_over()
    except Exception:
        log.exception("a carrier failed", notification_id=str(notification.id))
        return _UNFORESEEN


async def _failed_to_compose() -> Outcome:
    return _COMPOSING_FAILED


def _tell(notification: Notification, verdict: Verdict, error: str | None) -> None:
    log.log(
        logging.ERROR if verdict.status is Status.FAILED else logging.INFO,
        "a notification went on",
        notification_id=str(notification.id),
        template=notification.template,
        channel=notification.channel,
        status=verdict.status,
        reason=verdict.reason or error,
    )
