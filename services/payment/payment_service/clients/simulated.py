"""A simulated provider for development, with the test cards of Stripe, each of which has a fixed behaviour.

The cards are named like Stripe's test payment methods: https://docs.stripe.com/testing. The provider stands in for a
remote system, so it keeps its own records, in its own tables of the payments database: they survive a restart, and
the rest of this service reads them through the port only.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any
from uuid import UUID, uuid4

from chassis.database.engine import Database
from chassis.types.charges import ProviderName, charge_rules
from chassis.types.ids import UserId
from chassis.types.money import Money
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Row, Select, Table, Text, Uuid, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.clients.provider import EventPage, ProviderRefund, SavedCard
from payment_service.domain.errors import CardDeclined, InvalidPaymentMethod, ProviderRefused, ProviderUnavailable
from payment_service.domain.failures import Failure, FailureCode
from payment_service.domain.intents import Intent, IntentState, NextAction
from payment_service.domain.payment_methods import PaymentMethod
from payment_service.domain.payments import Payment, Refund, RefundStatus

_metadata = MetaData()

_intents = Table(
    "simulated_intents",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("payment_id", Uuid, nullable=False, unique=True),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("method", Text),
    Column("failure_code", Text),
    Column("failure_reason", Text),
    Column("client_secret", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

_refunds = Table(
    "simulated_refunds",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("refund_id", Uuid, nullable=False, unique=True),
    Column("intent_id", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)


class _Behaviour(Enum):
    SUCCEEDS = auto()
    DECLINES = auto()
    AUTHENTICATES = auto()
    """Requires the customer to authenticate, and then succeeds."""
    AUTHENTICATES_AND_DECLINES = auto()
    REFUNDS_LATE = auto()
    """Succeeds; its refunds are pending until they are retrieved."""


@dataclass(frozen=True, slots=True)
class _TestCard:
    last4: str
    behaviour: _Behaviour = _Behaviour.SUCCEEDS
    reason: str | None = None
    brand: str = "visa"


_CARDS: Mapping[str, _TestCard] = {
    "pm_card_visa": _TestCard("4242"),
    "pm_card_visa_debit": _TestCard("5556"),
    "pm_card_mastercard": _TestCard("4444", brand="mastercard"),
    "pm_card_amex": _TestCard("8431", brand="amex"),
    "pm_card_discover": _TestCard("9424", brand="discover"),
    "pm_card_chargeDeclined": _TestCard("0002", _Behaviour.DECLINES, "generic_decline"),
    "pm_card_visa_chargeDeclined": _TestCard("0002", _Behaviour.DECLINES, "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": _TestCard("9995", _Behaviour.DECLINES, "insufficient_funds"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": _TestCard("9995", _Behaviour.DECLINES, "insufficient_funds"),
    "pm_card_visa_chargeDeclinedLostCard": _TestCard("9987", _Behaviour.DECLINES, "generic_decline"),
    "pm_card_visa_chargeDeclinedStolenCard": _TestCard("9979", _Behaviour.DECLINES, "generic_decline"),
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": _TestCard(
        "6975", _Behaviour.DECLINES, "card_velocity_exceeded"
    ),
    "pm_card_chargeDeclinedExpiredCard": _TestCard("0069", _Behaviour.DECLINES, "expired_card"),
    "pm_card_chargeDeclinedIncorrectCvc": _TestCard("0127", _Behaviour.DECLINES, "incorrect_cvc"),
    "pm_card_chargeDeclinedProcessingError": _TestCard("0119", _Behaviour.DECLINES, "processing_error"),
    "pm_card_chargeCustomerFail": _TestCard("0341", _Behaviour.DECLINES, "generic_decline"),
    "pm_card_authenticationRequired": _TestCard("3184", _Behaviour.AUTHENTICATES),
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": _TestCard(
        "3178", _Behaviour.AUTHENTICATES_AND_DECLINES, "insufficient_funds"
    ),
    "pm_card_pendingRefund": _TestCard("7726", _Behaviour.REFUNDS_LATE),
}


class SimulatedProvider:
    name = ProviderName.SIMULATED
    charge_rules = charge_rules(ProviderName.SIMULATED)

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def create_intent(self, payment: Payment) -> Intent:
        intent_id = f"pi_sim_{payment.id.hex}"
        new = insert(_intents).values(
            id=intent_id,
            payment_id=payment.id,
            amount=payment.amount.amount,
            currency=payment.amount.currency,
            state=IntentState.AWAITING_CONFIRMATION,
            client_secret=f"{intent_id}_secret_{secrets.token_hex(16)}",
            created_at=self._now(),
        )
        async with self._database.begin() as transaction:
            await transaction.execute(new.on_conflict_do_nothing())
            return _intent(await _lock(transaction, intent_id))

    async def get_intent(self, intent_id: str) -> Intent:
        async with self._database.begin() as transaction:
            return _intent(await _find(transaction, intent_id))

    async def confirm_intent(self, payment: Payment, intent_id: str, method: PaymentMethod) -> Intent:
        card = _card_of(method.ref)
        async with self._database.begin() as transaction:
            row = await _lock(transaction, intent_id)
            if row.state == IntentState.AWAITING_CONFIRMATION and row.failure_code is None:
                row = await _charge(transaction, intent_id, method.ref, card)
        if row.state == IntentState.AWAITING_CONFIRMATION and row.failure_code is not None:
            raise CardDeclined(Failure(FailureCode(row.failure_code), row.failure_reason))
        return _intent(row)

    async def resume_intent(self, intent_id: str) -> Intent:
        async with self._database.begin() as transaction:
            row = await _lock(transaction, intent_id)
            if row.state == IntentState.REQUIRES_ACTION:
                row = await _authenticate(transaction, row)
            return _intent(row)

    async def cancel_intent(self, intent_id: str) -> Intent:
        async with self._database.begin() as transaction:
            row = await _lock(transaction, intent_id)
            if row.state in (IntentState.AWAITING_CONFIRMATION, IntentState.REQUIRES_ACTION):
                row = await _update(transaction, intent_id, state=IntentState.CANCELED)
            return _intent(row)

    async def create_refund(self, refund: Refund, intent_id: str, *, is_repeated: bool) -> ProviderRefund:
        async with self._database.begin() as transaction:
            intent = await _lock(transaction, intent_id)
            existing = select(_refunds).where(_refunds.c.refund_id == refund.id)
            if (row := (await transaction.execute(existing)).first()) is not None:
                return _refund(row, intent.currency)
            refunded = select(func.coalesce(func.sum(_refunds.c.amount), 0)).where(_refunds.c.intent_id == intent_id)
            remaining = intent.amount - (await transaction.scalar(refunded) or 0)
            if intent.state != IntentState.SUCCEEDED or refund.amount.amount > remaining:
                raise ProviderRefused(Failure(FailureCode.REFUSED_BY_PROVIDER, "amount_too_large"))
            is_late = _card_of(intent.method).behaviour is _Behaviour.REFUNDS_LATE
            new = insert(_refunds).values(
                id=f"re_sim_{refund.id.hex}",
                refund_id=refund.id,
                intent_id=intent_id,
                amount=refund.amount.amount,
                state=RefundStatus.PENDING if is_late else RefundStatus.SUCCEEDED,
                created_at=self._now(),
            )
            return _refund((await transaction.execute(new.returning(_refunds))).one(), intent.currency)

    async def get_refund(self, provider_ref: str) -> ProviderRefund:
        """Returns the refund; one that was pending succeeds now."""
        done = update(_refunds).where(_refunds.c.id == provider_ref).values(state=RefundStatus.SUCCEEDED)
        async with self._database.begin() as transaction:
            row = (await transaction.execute(done.returning(_refunds))).first()
            if row is None:
                raise ProviderUnavailable(f"the simulated provider has no refund {provider_ref}")
            intent = await _find(transaction, row.intent_id)
            return _refund(row, intent.currency)

    async def list_refunds(self, intent_id: str) -> Sequence[ProviderRefund]:
        async with self._database.begin() as transaction:
            intent = await _find(transaction, intent_id)
            rows = await transaction.execute(select(_refunds).where(_refunds.c.intent_id == intent_id))
            return [_refund(row, intent.currency) for row in rows]

    async def list_events(self, since: datetime, after: str | None) -> EventPage:
        """Returns an empty page: nothing happens that was not requested here."""
        return EventPage([])

    async def create_customer(self, user_id: UserId, shop_id: UUID) -> str:
        return f"cus_sim_{user_id}"

    async def attach_method(self, customer: str, method: str) -> SavedCard:
        """Saves a test card. As with Stripe, each call creates a payment method of its own."""
        card = _card_of(method)
        if card.reason is not None and method != "pm_card_chargeCustomerFail" and card.behaviour is _Behaviour.DECLINES:
            raise CardDeclined(Failure(FailureCode.CARD_DECLINED, card.reason))
        return SavedCard(f"{method}:{uuid4().hex}", card.brand, card.last4, 12, self._now().year + 5)

    async def detach_method(self, method: str) -> None:
        """Does nothing: a saved card is nothing but its reference."""

    async def erase_customer(self, customer: str) -> None:
        """Does nothing: nothing is stored for a customer."""

    async def close(self) -> None:
        """Does nothing: its connections are the database's."""


def _card_of(method: str) -> _TestCard:
    """Returns the test card by its name, or by the reference of a saved one. Raises InvalidPaymentMethod."""
    card = _CARDS.get(method.partition(":")[0])
    if card is None:
        raise InvalidPaymentMethod(Failure(FailureCode.INVALID_PAYMENT_METHOD, "resource_missing"))
    return card


async def _charge(transaction: AsyncConnection, intent_id: str, method: str, card: _TestCard) -> Row[Any]:
    """Charges a card, or lets it fail, as the test card behaves. The row must be locked."""
    if card.behaviour is _Behaviour.DECLINES:
        return await _update(
            transaction, intent_id, method=method, failure_code=FailureCode.CARD_DECLINED, failure_reason=card.reason
        )
    authenticates = card.behaviour in (_Behaviour.AUTHENTICATES, _Behaviour.AUTHENTICATES_AND_DECLINES)
    state = IntentState.REQUIRES_ACTION if authenticates else IntentState.SUCCEEDED
    return await _update(transaction, intent_id, method=method, state=state)


async def _authenticate(transaction: AsyncConnection, row: Row[Any]) -> Row[Any]:
    """Continues after the customer has authenticated. The row must be locked."""
    card = _card_of(row.method)
    if card.behaviour is _Behaviour.AUTHENTICATES:
        return await _update(transaction, row.id, state=IntentState.SUCCEEDED)
    return await _update(
        transaction,
        row.id,
        state=IntentState.AWAITING_CONFIRMATION,
        failure_code=FailureCode.CARD_DECLINED,
        failure_reason=card.reason,
    )


async def _update(transaction: AsyncConnection, intent_id: str, **values: str | None) -> Row[Any]:
    statement = update(_intents).where(_intents.c.id == intent_id).values(**values).returning(_intents)
    row: Row[Any] = (await transaction.execute(statement)).one()
    return row


async def _lock(transaction: AsyncConnection, intent_id: str) -> Row[Any]:
    return await _one(transaction, intent_id, is_locked=True)


async def _find(transaction: AsyncConnection, intent_id: str) -> Row[Any]:
    return await _one(transaction, intent_id, is_locked=False)


async def _one(transaction: AsyncConnection, intent_id: str, *, is_locked: bool) -> Row[Any]:
    statement: Select[Any] = select(_intents).where(_intents.c.id == intent_id)
    if is_locked:
        statement = statement.with_for_update()
    row: Row[Any] | None = (await transaction.execute(statement)).first()
    if row is None:
        raise ProviderUnavailable(f"the simulated provider has no intent {intent_id}")
    return row


def _intent(row: Row[Any]) -> Intent:
    state = IntentState(row.state)
    return Intent(
        id=row.id,
        state=state,
        received=Money(row.amount, row.currency) if state is IntentState.SUCCEEDED else None,
        failure=None if row.failure_code is None else Failure(FailureCode(row.failure_code), row.failure_reason),
        client_secret=row.client_secret,
        next_action=NextAction("confirm_again") if state is IntentState.REQUIRES_ACTION else None,
    )


def _refund(row: Row[Any], currency: str) -> ProviderRefund:
    return ProviderRefund(row.id, RefundStatus(row.state), Money(row.amount, currency), refund_id=str(row.refund_id))
