"""The use cases of refunds. Only what was captured is refunded, and each part of it once."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database import idempotency
from chassis.database.engine import Database
from chassis.database.idempotency import Claim, KeyRepository
from chassis.errors import DatabaseUnavailable
from chassis.http.authentication import Principal
from chassis.observability import logs
from chassis.types.charges import NotChargeable
from chassis.types.ids import UserId
from chassis.types.money import Money

from payment_service.domain.errors import ProviderUnavailable, RefundNotPossible, RefundRefused, UnknownPayment
from payment_service.domain.payments import PaymentId, Refund, RefundId, RefundStatus
from payment_service.repository.payments import PaymentRepository
from payment_service.repository.refunds import RefundRepository
from payment_service.service.payments import find_visible_within
from payment_service.service.refund_reconciler import RefundReconciler, add_refund_within

log = logs.get_logger(__name__)


class RefundService:
    def __init__(
        self,
        database: Database,
        reconciler: RefundReconciler,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        sweep_after: timedelta,
    ) -> None:
        """`sweep_after` is how long a refund is left to its request before the sweeper checks it."""
        self._database = database
        self._reconciler = reconciler
        self._now = now
        self._new_id = new_id
        self._sweep_after = sweep_after

    async def request(
        self,
        admin_id: UserId,
        payment_id: PaymentId,
        amount: int | None,
        reason: str | None,
        key: idempotency.Key | None,
    ) -> Refund:
        """Refunds `amount` minor units, or all that is left.

        The refund is pending if the provider processes it later or its outcome is unknown: the sweeper finishes it.
        Raises IdempotencyKeyReused, UnknownPayment, NotRefundable, RefundExceedsCaptured, RefundNotPossible,
        RefundRefused.
        """
        await self._import_provider_refunds(payment_id)
        refund, is_new = await self._record(admin_id, payment_id, amount, reason, key)
        try:
            refund = await self._reconciler.reconcile(refund, is_repeated=not is_new)
        except (ProviderUnavailable, DatabaseUnavailable) as error:
            log.warning("a refund is finished later", refund_id=str(refund.id), reason=str(error))
        if refund.status is RefundStatus.FAILED:
            raise RefundRefused(refund.id, refund.failure_reason)
        return refund

    async def _import_provider_refunds(self, payment_id: PaymentId) -> None:
        """Records what was refunded in the provider's dashboard, so that no more is refunded here than is left.

        Without an answer of the provider the refund is recorded nevertheless: the provider refuses what is too much.
        """
        async with self._database.begin() as transaction:
            payment = await PaymentRepository(transaction).find(payment_id)
        if payment is None:
            raise UnknownPayment(payment_id)
        try:
            await self._reconciler.import_provider_refunds(payment)
        except ProviderUnavailable as error:
            log.warning("refunds at the provider are not known", payment_id=str(payment_id), reason=str(error))

    async def list_of_payment(self, principal: Principal, payment_id: PaymentId) -> list[Refund]:
        """Lists the refunds of a payment, newest first. Raises UnknownPayment, also if it is another user's."""
        async with self._database.begin() as transaction:
            await find_visible_within(transaction, principal, payment_id)
            return await RefundRepository(transaction).list_of_payment(payment_id)

    async def _record(
        self,
        admin_id: UserId,
        payment_id: PaymentId,
        amount: int | None,
        reason: str | None,
        key: idempotency.Key | None,
    ) -> tuple[Refund, bool]:
        """Returns the refund of the key, or a new one whose amount is set aside; and whether it is new."""
        claim = Claim(self._new_id(), idempotency.fingerprint(["refund", str(payment_id), amount, reason]))
        now = self._now()
        async with self._database.begin() as transaction:
            refund_id = RefundId(claim.resource_id)
            if key is not None:
                refund_id = RefundId(claim.resolve(await KeyRepository(transaction).claim(admin_id, key, claim, now)))
            existing = await RefundRepository(transaction).find(refund_id)
            if existing is not None:
                return existing, False
            payment = await PaymentRepository(transaction).lock(payment_id)
            money = Money(payment.refundable if amount is None else amount, payment.amount.currency)
            self._check_representable(payment_id, money)
            refund = Refund(refund_id, payment_id, money, now, reason, admin_id)
            await add_refund_within(transaction, payment, refund, next_check_at=now + self._sweep_after)
        log.info("refund requested", refund_id=str(refund.id), payment_id=str(payment_id))
        return refund, True

    def _check_representable(self, payment_id: PaymentId, amount: Money) -> None:
        """Raises RefundNotPossible."""
        try:
            self._reconciler.charge_rules.to_units(amount)
        except NotChargeable as reason:
            raise RefundNotPossible(payment_id, reason) from None
