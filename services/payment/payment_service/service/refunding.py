"""The use cases of refunds. Only what was captured goes back, and each part of it once."""

from chassis.database import idempotency
from chassis.database.idempotency import Claim, KeyRepository
from chassis.errors import DatabaseUnavailable
from chassis.http.authentication import Principal
from chassis.observability import logs
from chassis.types.ids import UserId
from chassis.types.money import Money

from payment_service.domain.errors import ProviderUnavailable, RefundRefused, UnknownPayment
from payment_service.domain.payments import PaymentId, Refund, RefundId, RefundStatus
from payment_service.repository.payments import PaymentRepository
from payment_service.repository.refunds import RefundRepository
from payment_service.service.settling import Settlement, Tools, set_aside_within

log = logs.get_logger(__name__)


class Refunding:
    def __init__(self, tools: Tools, settlement: Settlement) -> None:
        self._tools = tools
        self._settlement = settlement

    async def request(
        self,
        admin_id: UserId,
        payment_id: PaymentId,
        amount: int | None,
        reason: str | None,
        key: idempotency.Key | None,
    ) -> Refund:
        """Gives back `amount` minor units, or all that is left. Pending, where the provider takes its time: it is finished by itself.

        Raises KeyReused, UnknownPayment, NotRefundable, RefundExceedsCaptured, RefundRefused.
        """
        refund, is_new = await self._record(admin_id, payment_id, amount, reason, key)
        try:
            refund = await self._settlement.finish_refund(refund, is_repeated=not is_new)
        except (ProviderUnavailable, DatabaseUnavailable) as error:
            log.warning("a refund is finished later", refund_id=str(refund.id), reason=str(error))
        if refund.status is RefundStatus.FAILED:
            raise RefundRefused(refund.id, refund.failure_reason)
        return refund

    async def refunds_of(self, principal: Principal, payment_id: PaymentId) -> list[Refund]:
        """Newest first. Raises UnknownPayment, also for somebody else's."""
        async with self._tools.database.begin() as transaction:
            payment = await PaymentRepository(transaction).find(payment_id)
            if payment is None or (payment.buyer_id != principal.user_id and not principal.is_admin):
                raise UnknownPayment(payment_id)
            return await RefundRepository(transaction).of_payment(payment_id)

    async def _record(
        self,
        admin_id: UserId,
        payment_id: PaymentId,
        amount: int | None,
        reason: str | None,
        key: idempotency.Key | None,
    ) -> tuple[Refund, bool]:
        """The refund, pending, with its amount set aside; and whether it is new."""
        claim = Claim(self._tools.new_id(), idempotency.fingerprint(["refund", str(payment_id), amount, reason]))
        now = self._tools.now()
        async with self._tools.database.begin() as transaction:
            refund_id = RefundId(claim.resource_id)
            if key is not None:
                refund_id = RefundId(claim.resolve(await KeyRepository(transaction).claim(admin_id, key, claim, now)))
            found = await RefundRepository(transaction).find(refund_id)
            if found is not None:
                return found, False
            repository = PaymentRepository(transaction)
            if await repository.find(payment_id) is None:
                raise UnknownPayment(payment_id)
            payment = await repository.lock(payment_id)
            wanted = Money(payment.refundable if amount is None else amount, payment.amount.currency)
            refund = Refund(refund_id, payment_id, wanted, now, reason, admin_id)
            await set_aside_within(transaction, payment, refund, due_at=now + self._tools.patience)
        log.info("refund requested", refund_id=str(refund.id), payment_id=str(payment_id))
        return refund, True
