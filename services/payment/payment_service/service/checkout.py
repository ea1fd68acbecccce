"""The use cases of paying an order.

They involve the order service and the provider, may stop anywhere, and may be repeated.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database import idempotency
from chassis.database.engine import Database
from chassis.database.idempotency import Claim, KeyRepository
from chassis.http.authentication import Principal
from chassis.observability import logs
from chassis.types.charges import NotChargeable
from chassis.types.ids import OrderId, UserId

from payment_service.clients.orders import Orders, PayableOrder
from payment_service.domain.errors import (
    AccountErased,
    NotCancellable,
    NotConfirmable,
    OrderNotPayable,
    PaymentDeclined,
    PaymentError,
    PaymentExists,
    PaymentInProgress,
    PaymentMethodRefused,
    PaymentMethodRequired,
    PaymentRefused,
    TotalNotChargeable,
    UnknownOrder,
    UnknownPayment,
    UnknownPaymentMethod,
    WrongAmountCaptured,
)
from payment_service.domain.failures import Failure, FailureCode
from payment_service.domain.intents import Intent, IntentState
from payment_service.domain.payment_methods import PaymentMethod, PaymentMethodChoice
from payment_service.domain.payments import Payment, PaymentId, PaymentStatus
from payment_service.repository.check_schedule import PAYMENT_CHECKS
from payment_service.repository.payment_methods import CustomerReader, PaymentMethodRepository
from payment_service.repository.payments import PaymentReader, PaymentRepository, PaymentWriter
from payment_service.service.payment_reconciler import PAYMENTS, PaymentReconciler
from payment_service.service.payments import PaymentView, find_visible_within

_ANSWER_VALID = timedelta(seconds=1)
"""How long the answer that an order is payable holds for the request that asked (docs/adr/0067)."""

log = logs.get_logger(__name__)


class CheckoutService:
    def __init__(
        self,
        database: Database,
        orders: Orders,
        reconciler: PaymentReconciler,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        sweep_after: timedelta,
    ) -> None:
        """`sweep_after` is how long a payment is left to its request before the sweeper checks it."""
        self._database = database
        self._orders = orders
        self._reconciler = reconciler
        self._now = now
        self._new_id = new_id
        self._sweep_after = sweep_after

    async def begin(
        self,
        buyer_id: UserId,
        order_id: OrderId,
        choice: PaymentMethodChoice | None,
        *,
        confirm: bool,
        key: idempotency.Key | None,
    ) -> PaymentView:
        """Returns the payment of the idempotency key, or a new one. Its amount is the order's.

        Raises AccountErased, IdempotencyKeyReused, UnknownOrder, OrderNotPayable, TotalNotChargeable,
        PaymentExists, UnknownPaymentMethod, and with `confirm` the errors of `confirm`.
        """
        await self._ensure_not_erased(buyer_id)
        payment_id, stored = await self._claim(buyer_id, order_id, choice, confirm, key)
        payable_at = None
        if stored is None:
            stored, payable_at = await self._create(payment_id, buyer_id, order_id, choice)
        payment, intent = await self._reconciler.ensure_intent(stored)
        if confirm and payment.failure is None:
            return await self._confirm(payment, choice, payable_at)
        if confirm or (payment.failure is not None and payment.failure.code is FailureCode.REFUSED_BY_PROVIDER):
            _raise_failure(payment)
        return PaymentView(payment, intent)

    async def confirm(self, buyer_id: UserId, payment_id: PaymentId, choice: PaymentMethodChoice | None) -> PaymentView:
        """Charges the payment once, however often and however concurrently it is called.

        Raises AccountErased, UnknownPayment, UnknownPaymentMethod, PaymentMethodRequired, OrderNotPayable,
        PaymentInProgress, NotConfirmable, PaymentDeclined, PaymentMethodRefused, PaymentRefused; and
        ProviderUnavailable if the outcome is unknown, which the same call or the sweeper finds out later.
        """
        await self._ensure_not_erased(buyer_id)
        async with self._database.read() as connection:
            payment = await PaymentReader(connection).find(payment_id)
        if payment is None or payment.buyer_id != buyer_id:
            raise UnknownPayment(payment_id)
        if payment.intent_id is None:
            payment, _ = await self._reconciler.ensure_intent(payment)
        return await self._confirm(payment, choice)

    async def cancel(self, principal: Principal, payment_id: PaymentId) -> Payment:
        """Cancels a payment that is not paid; a failed one stays failed.

        Raises UnknownPayment, NotCancellable, ProviderUnavailable.
        """
        async with self._database.begin() as transaction:
            await find_visible_within(transaction, principal, payment_id)
            repository = PaymentRepository(transaction)
            payment, _ = await repository.lock_with_order(payment_id)
            if payment.status is not PaymentStatus.FAILED:
                now = self._now()
                payment = payment.closing(Failure(FailureCode.CANCELLED), now)
                await repository.store(payment)
                await PAYMENT_CHECKS.reschedule(transaction, payment.id, now + self._sweep_after)
        payment, _ = await self._reconciler.reconcile(payment)
        if payment.captured and not payment.is_wrongly_captured:
            raise NotCancellable(payment.id, payment.status)
        return payment

    async def _ensure_not_erased(self, buyer_id: UserId) -> None:
        """Raises AccountErased.

        An erasure that is recorded after this check does not have to be noticed here: with the account the order
        service cancels the order, whose payments are then closed or refunded.
        """
        async with self._database.read() as connection:
            customer = await CustomerReader(connection).find_customer(buyer_id)
        if customer is not None and customer.is_erased:
            raise AccountErased

    async def _claim(
        self,
        buyer_id: UserId,
        order_id: OrderId,
        choice: PaymentMethodChoice | None,
        confirm: bool,
        key: idempotency.Key | None,
    ) -> tuple[PaymentId, Payment | None]:
        """Claims the key, and returns its payment id and, if stored already, its payment.

        Commits before any other step.
        """
        request = ["payment", str(order_id), None if choice is None else [choice.ref, str(choice.saved)], confirm]
        claim = Claim(self._new_id(), idempotency.fingerprint(request))
        if key is None:
            return PaymentId(claim.resource_id), None
        async with self._database.begin() as transaction:
            held = await KeyRepository(transaction).claim(buyer_id, key, claim, self._now())
            payment_id = PaymentId(claim.resolve(held))
            is_new = payment_id == claim.resource_id
            return payment_id, None if is_new else await PaymentRepository(transaction).find(payment_id)

    async def _create(
        self, payment_id: PaymentId, buyer_id: UserId, order_id: OrderId, choice: PaymentMethodChoice | None
    ) -> tuple[Payment, datetime]:
        """Returns the new payment, and when its order was known to be payable."""
        asked_at = self._now()
        order = await self._get_payable(buyer_id, order_id)
        self._check_chargeable(order)
        method = None if choice is None else await self._resolve(buyer_id, choice)
        now = self._now()
        provider = self._reconciler.provider_name
        payment = Payment(
            payment_id, order_id, buyer_id, order.total, provider, now, now, method=method, pay_until=order.expires_at
        )
        stored = await self._store(payment, now + self._sweep_after)
        if stored is payment:
            PAYMENTS.labels(payment.status).inc()
            log.info("payment begun", payment_id=str(payment.id), order_id=str(order_id))
        return stored, asked_at

    async def _store(self, payment: Payment, next_check_at: datetime) -> Payment:
        """Stores a new payment and returns it, or the one that a concurrent request with the same key has stored.

        Nearly every payment is the first of its order. Raises OrderNotPayable, PaymentExists.
        """
        async with self._database.autocommit() as connection:
            if await PaymentWriter(connection).add_first(payment, next_check_at):
                return payment
        return await self._store_for_known_order(payment, next_check_at)

    async def _store_for_known_order(self, payment: Payment, next_check_at: datetime) -> Payment:
        order_id = payment.order_id
        async with self._database.begin() as transaction:
            repository = PaymentRepository(transaction)
            is_order_cancelled = await repository.lock_order(order_id)
            live = await repository.find_live_of_order(order_id)
            same = live if live is not None and live.id == payment.id else await repository.find(payment.id)
            if same is not None:
                return same
            if is_order_cancelled:
                raise OrderNotPayable(order_id, "cancelled")
            if live is not None:
                raise PaymentExists(order_id, live.id)
            await repository.add(payment, next_check_at)
        return payment

    async def _get_payable(self, buyer_id: UserId, order_id: OrderId) -> PayableOrder:
        """Returns what the order costs. Raises UnknownOrder, also if it is another user's, and OrderNotPayable."""
        order = await self._orders.get_payable(order_id)
        if order.buyer_id != buyer_id:
            raise UnknownOrder(order_id)
        if not order.is_payable or order.total.amount == 0:
            raise OrderNotPayable(order_id, order.status)
        return order

    def _check_chargeable(self, order: PayableOrder) -> None:
        """Raises TotalNotChargeable."""
        try:
            self._reconciler.charge_rules.check(order.total)
        except NotChargeable as reason:
            raise TotalNotChargeable(order.order_id, reason) from None

    async def _resolve(self, buyer_id: UserId, choice: PaymentMethodChoice) -> PaymentMethod:
        """Returns the method that the buyer chose. Raises UnknownPaymentMethod, also if it is another user's."""
        if choice.saved is None:
            return PaymentMethod(choice.ref or "")
        async with self._database.begin() as transaction:
            repository = PaymentMethodRepository(transaction)
            saved = await repository.find(buyer_id, choice.saved)
            customer = await repository.find_customer(buyer_id)
        if saved is None or customer is None:
            raise UnknownPaymentMethod(choice.saved)
        return PaymentMethod(saved.ref, customer.ref)

    async def _confirm(
        self, payment: Payment, choice: PaymentMethodChoice | None, payable_at: datetime | None = None
    ) -> PaymentView:
        """Confirms the payment. `payable_at` is when this request was told that the order is payable."""
        intent = None
        if payment.is_confirmable:
            payment, intent = await self._start_confirmation(payment, choice, payable_at)
        elif payment.is_open and payment.failure is None:
            intent = await self._continue_confirmation(payment, choice)
        payment, intent = await self._reconciler.reconcile(payment, intent)
        _raise_failure(payment)
        return PaymentView(payment, intent)

    async def _start_confirmation(
        self, payment: Payment, choice: PaymentMethodChoice | None, payable_at: datetime | None
    ) -> tuple[Payment, Intent | None]:
        """Records the method to charge. Asks again whether the order is payable, unless that was said just now.

        The returned intent is assumed to be unconfirmed; if a concurrent request has confirmed it, the provider says
        so.
        """
        method = payment.method if choice is None else await self._resolve(payment.buyer_id, choice)
        if method is None:
            raise PaymentMethodRequired(payment.id)
        if payable_at is None or self._now() - payable_at > _ANSWER_VALID:
            await self._get_payable(payment.buyer_id, payment.order_id)  # it may have expired
        now = self._now()
        async with self._database.autocommit() as connection:
            confirmed = await PaymentWriter(connection).confirm(payment.id, method, now, now + self._sweep_after)
        if confirmed is None:  # a concurrent request was faster: retrieve the intent instead of confirming again
            return await self._reconciler.reload(payment.id), None
        intent_id = confirmed.intent_id
        return confirmed, None if intent_id is None else Intent(intent_id, IntentState.AWAITING_CONFIRMATION)

    async def _continue_confirmation(self, payment: Payment, choice: PaymentMethodChoice | None) -> Intent | None:
        """Handles a confirmation of a payment that is being confirmed already.

        With the same method it is a repetition, and charges nothing more. Without a method it means that the customer
        has done what the next action required. With another method it raises PaymentInProgress.
        """
        if choice is None:
            return await self._reconciler.resume(payment)
        if payment.method != await self._resolve(payment.buyer_id, choice):
            raise PaymentInProgress(payment.id)
        return None


def _raise_failure(payment: Payment) -> None:
    """Raises the error of a payment's failure. A closing payment fails too, unless its charge was faster."""
    if payment.failure is not None:
        raise _error_of(payment.id, payment.failure)


def _error_of(payment_id: PaymentId, failure: Failure) -> PaymentError:
    match failure.code:
        case FailureCode.CARD_DECLINED | FailureCode.AUTHENTICATION_FAILED:
            return PaymentDeclined(payment_id, failure)
        case FailureCode.INVALID_PAYMENT_METHOD:
            return PaymentMethodRefused(failure.reason)
        case FailureCode.REFUSED_BY_PROVIDER:
            return PaymentRefused(payment_id, failure.reason)
        case FailureCode.WRONG_AMOUNT:
            return WrongAmountCaptured(payment_id)
        case FailureCode.CANCELLED | FailureCode.ORDER_CANCELLED:
            return NotConfirmable(payment_id, failure.code)
