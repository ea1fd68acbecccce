"""The queries of payments."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chassis.database.engine import Database
from chassis.database.statements import Connection
from chassis.http.authentication import Principal
from chassis.http.cursors import CursorPaging, TimePosition
from chassis.observability import logs
from chassis.types.ids import OrderId

from payment_service.clients.provider import Provider
from payment_service.domain.errors import NoPaymentOfOrder, ProviderError, UnknownPayment
from payment_service.domain.intents import Intent, NextAction, Step, next_step
from payment_service.domain.payments import Payment, PaymentId, PaymentQuery
from payment_service.repository.check_schedule import PAYMENT_CHECKS
from payment_service.repository.payments import PaymentReader, PaymentRepository

_ENDINGS = frozenset({Step.COMPLETE, Step.FAIL, Step.REJECT_CAPTURE})

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PaymentView:
    """A payment as its buyer sees it: while it is open, with what their browser needs to continue it."""

    payment: Payment
    intent: Intent | None = None

    @property
    def client_secret(self) -> str | None:
        return self.intent.client_secret if self.intent is not None and self._can_continue else None

    @property
    def next_action(self) -> NextAction | None:
        return self.intent.next_action if self.intent is not None and self._can_continue else None

    @property
    def _can_continue(self) -> bool:
        return self.payment.is_open and not self.payment.is_closing


class PaymentQueries:
    def __init__(self, database: Database, provider: Provider, now: Callable[[], datetime]) -> None:
        self._database = database
        self._provider = provider
        self._now = now

    async def get(self, principal: Principal, payment_id: PaymentId) -> PaymentView:
        """Returns a payment that the caller may see. Raises UnknownPayment."""
        async with self._database.read() as connection:
            payment = await find_visible_within(connection, principal, payment_id)
        return await self._view(principal, payment)

    async def get_of_order(self, principal: Principal, order_id: OrderId) -> PaymentView:
        """Returns the live payment of an order, or else the last one that failed. Raises NoPaymentOfOrder."""
        async with self._database.read() as connection:
            payment = await PaymentReader(connection).find_latest_of_order(order_id)
        if payment is None or not _may_see(principal, payment):
            raise NoPaymentOfOrder(order_id)
        return await self._view(principal, payment)

    async def list_payments(self, query: PaymentQuery, paging: CursorPaging[TimePosition]) -> tuple[list[Payment], int]:
        """Returns one page of payments, newest first, and how many match.

        The caller of this method checks that the user may see what the query selects.
        """
        async with self._database.begin() as transaction:
            repository = PaymentRepository(transaction)
            page = await repository.page(query, paging.offset, paging.limit, paging.after)
            return page, await repository.count(query) if paging.counted is None else paging.counted

    async def _view(self, principal: Principal, payment: Payment) -> PaymentView:
        """Adds the intent, for the buyer only; if it shows that something happened, the sweeper records that next.

        It is stored at the provider only, so without an answer it is left out.
        """
        if not payment.is_open or payment.intent_id is None or payment.buyer_id != principal.user_id:
            return PaymentView(payment)
        try:
            intent = await self._provider.get_intent(payment.intent_id)
        except ProviderError as error:
            log.warning("an open payment is shown without its intent", payment_id=str(payment.id), reason=str(error))
            return PaymentView(payment)
        if next_step(payment, intent) in _ENDINGS:
            async with self._database.begin() as transaction:
                await PAYMENT_CHECKS.reschedule(transaction, payment.id, self._now())
        return PaymentView(payment, intent)


async def find_visible_within(connection: Connection, principal: Principal, payment_id: PaymentId) -> Payment:
    """Returns a payment that the caller may see: their own, or any for an admin. Raises UnknownPayment."""
    payment = await PaymentReader(connection).find(payment_id)
    if payment is None or not _may_see(principal, payment):
        raise UnknownPayment(payment_id)
    return payment


def _may_see(principal: Principal, payment: Payment) -> bool:
    return payment.buyer_id == principal.user_id or principal.is_admin
