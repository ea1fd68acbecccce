"""The use cases of payments. Paying spans three parties; it may be stopped anywhere, and repeated under its key."""

from dataclasses import dataclass

from chassis.database import idempotency
from chassis.database.idempotency import Claim, KeyRepository
from chassis.http.authentication import Principal
from chassis.http.schemas import Paging
from chassis.observability import logs
from chassis.types.ids import OrderId, UserId

from payment_service.clients.orders import Orders, Payable
from payment_service.domain.errors import (
    MethodRefused,
    MethodRequired,
    NoPaymentOfOrder,
    NotCancellable,
    NotConfirmable,
    OrderNotPayable,
    PaymentDeclined,
    PaymentError,
    PaymentExists,
    PaymentInProgress,
    PaymentRefused,
    ProviderError,
    UnknownMethod,
    UnknownOrder,
    UnknownPayment,
)
from payment_service.domain.intents import Intent, IntentState, NextAction
from payment_service.domain.payments import Failure, FailureCode, Method, Payment, PaymentId, PaymentStatus
from payment_service.domain.wallets import MethodId
from payment_service.repository import due
from payment_service.repository.payments import PaymentRepository
from payment_service.repository.tables import payments
from payment_service.repository.wallets import WalletRepository
from payment_service.service import measures
from payment_service.service.settling import Settlement, Tools

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """What to charge: a method by the provider's reference, or one that the user has saved."""

    ref: str | None = None
    saved: MethodId | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A payment as its buyer sees it: with what their browser needs to go on, while it is open."""

    payment: Payment
    intent: Intent | None = None

    @property
    def _is_alive(self) -> bool:
        return self.payment.is_open and not self.payment.is_closing

    @property
    def client_secret(self) -> str | None:
        return self.intent.client_secret if self.intent is not None and self._is_alive else None

    @property
    def next_action(self) -> NextAction | None:
        return self.intent.next_action if self.intent is not None and self._is_alive else None


class Paying:
    def __init__(self, tools: Tools, settlement: Settlement, orders: Orders) -> None:
        self._tools = tools
        self._settlement = settlement
        self._orders = orders

    async def create(
        self, buyer_id: UserId, order_id: OrderId, choice: Choice | None, *, confirm: bool, key: idempotency.Key | None
    ) -> Shown:
        """The payment that the key stands for; without a key a new one. What it costs is the order's to say.

        Raises KeyReused, UnknownOrder, OrderNotPayable, PaymentExists, UnknownMethod, and with `confirm` what `confirm` raises.
        """
        payment_id, stored = await self._claim(buyer_id, order_id, choice, confirm, key)
        if stored is None:
            stored = await self._begin(payment_id, buyer_id, order_id, choice)
        payment, intent = await self._settlement.ensure_intent(stored)
        if confirm and payment.failure is None:
            return await self._confirm(payment, choice)
        if confirm or (payment.failure is not None and payment.failure.code is FailureCode.REFUSED_BY_PROVIDER):
            _raise_failure(payment)
        return Shown(payment, intent)

    async def confirm(self, buyer_id: UserId, payment_id: PaymentId, choice: Choice | None) -> Shown:
        """Charges once, however often and however much at once it is called.

        Raises UnknownPayment, UnknownMethod, MethodRequired, OrderNotPayable, PaymentInProgress, NotConfirmable, PaymentDeclined,
        MethodRefused, PaymentRefused, ProviderUnavailable.
        """
        payment = await self._find(payment_id)
        if payment is None or payment.buyer_id != buyer_id:
            raise UnknownPayment(payment_id)
        if payment.intent_id is None:
            payment, _ = await self._settlement.ensure_intent(payment)
        return await self._confirm(payment, choice)

    async def cancel(self, principal: Principal, payment_id: PaymentId) -> Payment:
        """One that has failed stays so. Raises UnknownPayment, NotCancellable, ProviderUnavailable."""
        await self._visible(principal, payment_id)
        async with self._tools.database.begin() as transaction:
            repository = PaymentRepository(transaction)
            payment = await repository.lock(payment_id)
            if payment.status is not PaymentStatus.FAILED:
                now = self._tools.now()
                payment = payment.closing(Failure(FailureCode.CANCELLED), now)
                await repository.store(payment)
                await due.hasten(transaction, payments.c.id, payment.id, now + self._tools.patience)
        payment, _ = await self._settlement.advance(payment)
        if payment.captured:
            raise NotCancellable(payment.id, payment.status)
        return payment

    async def payment(self, principal: Principal, payment_id: PaymentId) -> Shown:
        """Raises UnknownPayment, also for somebody else's."""
        return await self._show(principal, await self._visible(principal, payment_id))

    async def payment_of_order(self, principal: Principal, order_id: OrderId) -> Shown:
        """The live one, or else the last that failed. Raises NoPaymentOfOrder."""
        async with self._tools.database.begin() as transaction:
            found = await PaymentRepository(transaction).latest_of_order(order_id)
        if found is None or not _may_see(principal, found):
            raise NoPaymentOfOrder(order_id)
        return await self._show(principal, found)

    async def payments_of(self, buyer_id: UserId, paging: Paging) -> tuple[list[Payment], int]:
        """One page of a buyer's payments, newest first, and how many there are."""
        async with self._tools.database.begin() as transaction:
            repository = PaymentRepository(transaction)
            page = await repository.page_of(buyer_id, paging.offset, paging.limit)
            return page, await repository.count_of(buyer_id)

    async def _claim(
        self, buyer_id: UserId, order_id: OrderId, choice: Choice | None, confirm: bool, key: idempotency.Key | None
    ) -> tuple[PaymentId, Payment | None]:
        """The payment id to work under, and the payment if it is stored already. Committed before anything else begins."""
        wanted = ["payment", str(order_id), None if choice is None else [choice.ref, str(choice.saved)], confirm]
        claim = Claim(self._tools.new_id(), idempotency.fingerprint(wanted))
        if key is None:
            return PaymentId(claim.resource_id), None
        async with self._tools.database.begin() as transaction:
            held = await KeyRepository(transaction).claim(buyer_id, key, claim, self._tools.now())
            payment_id = PaymentId(claim.resolve(held))
            return payment_id, await PaymentRepository(transaction).find(payment_id)

    async def _begin(
        self, payment_id: PaymentId, buyer_id: UserId, order_id: OrderId, choice: Choice | None
    ) -> Payment:
        payable = await self._payable(buyer_id, order_id)
        method = None if choice is None else await self._resolve(buyer_id, choice)
        now = self._tools.now()
        provider = self._tools.provider.name
        payment = Payment(payment_id, order_id, buyer_id, payable.total, provider, now, now, method=method)
        async with self._tools.database.begin() as transaction:
            repository = PaymentRepository(transaction)
            is_order_cancelled = await repository.lock_order(order_id)
            live = await repository.live_of_order(order_id)
            same = live if live is not None and live.id == payment.id else await repository.find(payment.id)
            if same is not None:
                return same  # a request under the same key was faster
            if is_order_cancelled:
                raise OrderNotPayable(order_id, "cancelled")
            if live is not None:
                raise PaymentExists(order_id, live.id)
            await repository.add(payment, due=now + self._tools.patience)
        measures.PAYMENTS.labels(payment.status).inc()
        log.info("payment begun", payment_id=str(payment.id), order_id=str(order_id))
        return payment

    async def _payable(self, buyer_id: UserId, order_id: OrderId) -> Payable:
        """Raises UnknownOrder, also for somebody else's, and OrderNotPayable."""
        payable = await self._orders.payable(order_id)
        if payable.buyer_id != buyer_id:
            raise UnknownOrder(order_id)
        if not payable.is_payable or payable.total.amount == 0:
            raise OrderNotPayable(order_id, payable.status)
        return payable

    async def _resolve(self, buyer_id: UserId, choice: Choice) -> Method:
        """Raises UnknownMethod, also for somebody else's."""
        if choice.saved is None:
            return Method(choice.ref or "")
        async with self._tools.database.begin() as transaction:
            wallet = WalletRepository(transaction)
            saved = await wallet.find(buyer_id, choice.saved)
            customer = await wallet.find_customer(buyer_id)
        if saved is None or customer is None:
            raise UnknownMethod(choice.saved)
        return Method(saved.ref, customer.ref)

    async def _confirm(self, payment: Payment, choice: Choice | None) -> Shown:
        intent = None
        if payment.is_confirmable:
            payment, intent = await self._start_confirming(payment, choice)
        elif payment.is_open and payment.failure is None:
            intent = await self._join(payment, choice)
        payment, intent = await self._settlement.advance(payment, intent)
        _raise_failure(payment)
        return Shown(payment, intent)

    async def _start_confirming(self, payment: Payment, choice: Choice | None) -> tuple[Payment, Intent | None]:
        """Asks the order once more: what was payable when the payment began may have expired since.

        Of its intent it presumes that nobody has confirmed it yet: where somebody has, the provider says so.
        """
        method = payment.method if choice is None else await self._resolve(payment.buyer_id, choice)
        if method is None:
            raise MethodRequired(payment.id)
        await self._payable(payment.buyer_id, payment.order_id)
        async with self._tools.database.begin() as transaction:
            repository = PaymentRepository(transaction)
            locked = await repository.lock(payment.id)
            if not locked.is_confirmable:
                return locked, None  # somebody else was faster: what they have done is looked at, not done again
            now = self._tools.now()
            locked = locked.confirmed(method, now)
            await repository.store(locked)
            await due.hasten(transaction, payments.c.id, locked.id, now + self._tools.patience)
        return locked, None if locked.intent_id is None else Intent(locked.intent_id, IntentState.AWAITING)

    async def _join(self, payment: Payment, choice: Choice | None) -> Intent | None:
        """Somebody is confirming already: the same once more is no second charge; nothing at all means: I have acted."""
        if choice is not None:
            if payment.method != await self._resolve(payment.buyer_id, choice):
                raise PaymentInProgress(payment.id)
            return None
        return None if payment.intent_id is None else await self._tools.provider.resume(payment.intent_id)

    async def _show(self, principal: Principal, payment: Payment) -> Shown:
        """What the browser needs is the provider's, and nowhere stored: without the provider it is not shown."""
        if not payment.is_open or payment.intent_id is None or payment.buyer_id != principal.user_id:
            return Shown(payment)
        try:
            return Shown(payment, await self._tools.provider.intent(payment.intent_id))
        except ProviderError as error:
            log.warning("an open payment is shown without its intent", payment_id=str(payment.id), reason=str(error))
            return Shown(payment)

    async def _visible(self, principal: Principal, payment_id: PaymentId) -> Payment:
        found = await self._find(payment_id)
        if found is None or not _may_see(principal, found):
            raise UnknownPayment(payment_id)
        return found

    async def _find(self, payment_id: PaymentId) -> Payment | None:
        async with self._tools.database.begin() as transaction:
            return await PaymentRepository(transaction).find(payment_id)


def _may_see(principal: Principal, payment: Payment) -> bool:
    return payment.buyer_id == principal.user_id or principal.is_admin


def _raise_failure(payment: Payment) -> None:
    """Also for one that is still closing: that it fails is certain, unless the money came all the same."""
    if payment.failure is not None:
        raise _problem(payment.id, payment.failure)


def _problem(payment_id: PaymentId, failure: Failure) -> PaymentError:
    match failure.code:
        case FailureCode.CARD_DECLINED | FailureCode.AUTHENTICATION_FAILED:
            return PaymentDeclined(payment_id, failure)
        case FailureCode.INVALID_PAYMENT_METHOD:
            return MethodRefused(failure.reason)
        case FailureCode.REFUSED_BY_PROVIDER:
            return PaymentRefused(payment_id, failure.reason)
        case FailureCode.CANCELLED | FailureCode.ORDER_CANCELLED:
            return NotConfirmable(payment_id, failure.code)
