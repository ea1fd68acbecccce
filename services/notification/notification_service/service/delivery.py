"""Delivers the notifications that are due: leases one, renders its message, sends it, and stores the result.

A process may crash at any point, and another one continues. Three steps are committed one after the other: the
lease says which process sends; the attempt is recorded before the message is sent; the result of the attempt and the
notification's next state are stored together. A crash before the attempt costs the time of the lease. A crash after it
leaves an attempt without an outcome, and there are at most two of those (domain/delivery.py).
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

from notification_service.domain.delivery import (
    NextState,
    Outcome,
    RetryPolicy,
    SendResult,
    permanent_failure,
    state_after_attempt,
)
from notification_service.domain.errors import ChannelUnavailable, NoProvider, RecipientGone, TokenGone
from notification_service.domain.notifications import Notification, Reason, Status
from notification_service.repository.notifications import Lease, LeaseRepository
from notification_service.service.message_dispatcher import MessageDispatcher, Send

SENT = Counter("notifications_sent_total", "Attempts to send a message, by outcome", ["template", "channel", "outcome"])
NOT_SENT = Counter("notifications_not_sent_total", "Messages not sent, since the shop has no provider", ["channel"])
_SHUTDOWN_GRACE_SECONDS = 8.0
"""How long a stopping process waits for the messages that it is sending, and for a lease that it returns."""
_SEND_TIMEOUT_SHARE = 0.8
"""The share of a lease that sending may take: it must end before another process can lease the notification."""
_UNEXPECTED_ERROR = SendResult(Outcome.UNKNOWN, "unforeseen")
_RENDERING_FAILED = SendResult(Outcome.TRANSIENT, "composing_failed")

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SendLimits:
    """How many messages a process sends at once, how long it leases them, and how often it looks for due ones."""

    concurrency: int
    lease: timedelta
    idle_seconds: float


class DeliveryService:
    """Delivers notifications.

    Several processes may deliver from one table: a row is leased by one process at a time.
    """

    def __init__(
        self,
        database: Database,
        dispatcher: MessageDispatcher,
        policy: RetryPolicy,
        limits: SendLimits,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` returns a random number from 0 to 1."""
        self._database = database
        self._dispatcher = dispatcher
        self._policy = policy
        self._limits = limits
        self._now = now
        self._new_id = new_id
        self._jitter = jitter
        self._wake = asyncio.Event()
        self._has_leased_all = False  # as far as the last search has found

    def wake(self) -> None:
        """Starts the search for due notifications now, since one was just stored."""
        self._wake.set()

    async def run(self) -> None:
        """Delivers until it is cancelled, several notifications at once."""
        free = asyncio.Semaphore(self._limits.concurrency)
        async with asyncio.TaskGroup() as deliveries:
            while True:
                await free.acquire()
                lease = await self._next()
                deliveries.create_task(self._deliver(lease)).add_done_callback(lambda _: free.release())

    async def _next(self) -> Lease:
        """Waits until a notification is due, and leases it.

        One search at a time is enough, however many are sent at once. None begins before a notification is stored or
        the idle time is over, if the one before found no more.
        """
        while True:
            if self._has_leased_all:
                await self._idle()
            self._wake.clear()
            self._has_leased_all = True
            try:
                if lease := await self._lease_or_return():
                    self._has_leased_all = not lease.others_are_due
                    return lease
            except DatabaseUnavailable as error:
                log.warning("notifications wait for the database", reason=str(error))
            except Exception:
                log.exception("leasing a notification failed and is retried")

    async def _idle(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.idle_seconds):
                await self._wake.wait()

    async def _lease_or_return(self) -> Lease | None:
        """Leases one notification. If this process is stopped at that moment, another one can lease it at once.

        A cancelled commit may have taken effect, and then the lease would have to expire.
        """
        leasing = asyncio.create_task(self._lease_one())
        try:
            return await asyncio.shield(leasing)
        except asyncio.CancelledError:
            await _finish_within_grace(asyncio.create_task(self._return_lease(leasing)))
            raise

    async def _return_lease(self, leasing: "asyncio.Task[Lease | None]") -> None:
        if leased := await leasing:
            await self._postpone(leased, self._now())

    async def _lease_one(self) -> Lease | None:
        now = self._now()
        async with self._database.autocommit() as connection:
            return await LeaseRepository(connection).lease_next(self._new_id(), now, now + self._limits.lease)

    async def _deliver(self, lease: Lease) -> None:
        """Delivers one notification. If this fails, it is tried again when the lease has expired."""
        try:
            await _finish_on_cancellation(asyncio.create_task(self._prepare_and_send(lease)))
        except DatabaseUnavailable as error:
            log.warning("notifications wait for the database", reason=str(error))
        except Exception:
            log.exception("delivering a notification failed and is retried", notification_id=str(lease.notification.id))

    async def _prepare_and_send(self, lease: Lease) -> None:
        notification = lease.notification
        if failure := permanent_failure(lease.attempts, self._now() - notification.waiting_since, self._policy):
            return await self._release(lease, failure)
        try:
            send = await self._dispatcher.prepare(notification, self._now())
        except NeighbourUnavailable as error:
            await self._defer(lease, str(error))
        except RecipientGone:
            await self._release(lease, NextState(Status.CANCELLED, Reason.RECIPIENT_GONE))
        except TokenGone:
            await self._release(lease, NextState(Status.CANCELLED, Reason.OBSOLETE))
        except ChannelUnavailable as error:
            await self._release(lease, NextState(Status.CANCELLED, error.reason))
        except NoProvider as error:
            await self._release(lease, NextState(Status.NOT_SENT, error.reason))
            NOT_SENT.labels(notification.channel).inc()
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("rendering a message failed", notification_id=str(notification.id))
            await self._attempt(lease, _rendering_failed)
        else:
            await self._attempt(lease, send)

    async def _attempt(self, lease: Lease, send: Send) -> None:
        notification, now = lease.notification, self._now()
        async with self._database.autocommit() as connection:
            number = await LeaseRepository(connection).begin_attempt(
                notification, lease.id, now, now + self._limits.lease
            )
        if number is None:
            return  # erased, decided by a callback, or leased by another process since
        result = await _send_within(_SEND_TIMEOUT_SHARE * self._limits.lease, send, notification)
        SENT.labels(notification.template, notification.channel, result.outcome).inc()
        await self._retry_until(now + self._limits.lease, lambda: self._conclude(lease, number, result))

    async def _conclude(self, lease: Lease, number: int, result: SendResult) -> None:
        """Stores the result of an attempt, and the notification's next state."""
        if result.outcome is Outcome.ACCEPTED:
            state, is_released = await self._conclude_accepted(lease, number, result)
        else:
            state, is_released = await self._conclude_failed(lease, number, result)
        if is_released:
            _log_state(lease.notification, state, result.error)

    async def _conclude_accepted(self, lease: Lease, number: int, result: SendResult) -> tuple[NextState, bool]:
        """Concludes with one statement: what becomes of an accepted message depends on no other attempt."""
        state = NextState(Status.SENT)
        async with self._database.autocommit() as connection:
            repository = LeaseRepository(connection)
            return state, await repository.conclude(lease.notification, lease.id, number, result, state, self._now())

    async def _conclude_failed(self, lease: Lease, number: int, result: SendResult) -> tuple[NextState, bool]:
        now = self._now()
        async with self._database.begin() as transaction:
            repository = LeaseRepository(transaction)
            attempts = await repository.end_attempt(lease.notification, number, result)
            state = state_after_attempt(result, attempts, self._policy, now, self._jitter)
            return state, await repository.release(lease.notification, lease.id, state, now, result.provider_id)

    async def _retry_until(self, deadline: datetime, conclude: Callable[[], Awaitable[None]]) -> None:
        """Repeats `conclude` while the database is unavailable, because the message must not be sent again."""
        while True:
            try:
                return await conclude()
            except DatabaseUnavailable:
                if self._now() >= deadline:
                    raise
            await asyncio.sleep(0.2 + 0.3 * self._jitter())

    async def _release(self, lease: Lease, state: NextState) -> None:
        async with self._database.autocommit() as connection:
            is_released = await LeaseRepository(connection).release(lease.notification, lease.id, state, self._now())
        if is_released:
            _log_state(lease.notification, state, None)

    async def _defer(self, lease: Lease, reason: str) -> None:
        """Makes a notification due later, without an attempt, because another service is unavailable."""
        now = self._now()
        due_at = now + self._policy.deferral_delay(now - lease.notification.waiting_since, self._jitter())
        log.info("a notification is deferred", notification_id=str(lease.notification.id), reason=reason)
        await self._postpone(lease, due_at)

    async def _postpone(self, lease: Lease, due_at: datetime) -> None:
        """Releases a notification that stays pending."""
        pending = NextState(Status.PENDING, None, due_at)
        async with self._database.autocommit() as connection:
            await LeaseRepository(connection).release(lease.notification, lease.id, pending, self._now())


async def _finish_on_cancellation(delivery: "asyncio.Task[None]") -> None:
    """Waits for a delivery. If this process stops, the delivery has `_SHUTDOWN_GRACE_SECONDS` to end."""
    try:
        await asyncio.shield(delivery)
    except asyncio.CancelledError:
        await _finish_within_grace(delivery)
        raise


async def _finish_within_grace(task: "asyncio.Task[None]") -> None:
    await asyncio.wait([task], timeout=_SHUTDOWN_GRACE_SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _send_within(limit: timedelta, send: Send, notification: Notification) -> SendResult:
    """Sends a message. After an unexpected error it is unknown whether the message was sent."""
    try:
        async with asyncio.timeout(limit.total_seconds()):
            return await send()
    except Exception:
        log.exception("sending a message failed", notification_id=str(notification.id))
        return _UNEXPECTED_ERROR


async def _rendering_failed() -> SendResult:
    return _RENDERING_FAILED


def _log_state(notification: Notification, state: NextState, error: str | None) -> None:
    log.log(
        logging.ERROR if state.status is Status.FAILED else logging.INFO,
        "the state of a notification changed",
        notification_id=str(notification.id),
        template=notification.template,
        channel=notification.channel,
        status=state.status,
        reason=state.reason or error,
    )
