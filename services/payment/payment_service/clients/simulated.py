"""A simulated provider for development, with the test cards of Stripe, each of which has a fixed behaviour.

The cards are named like Stripe's test payment methods: https://docs.stripe.com/testing. The provider stands in for a
remote system, so it keeps its own records, in its own tables of the payments database: they survive a restart, and
the rest of this service reads them through the port only.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from typing import Any
from uuid import UUID, uuid4

from chassis.database.engine import Database
from chassis.database.statements import Command, Connection, Record, Statement
from chassis.types.charges import ProviderName, charge_rules
from chassis.types.ids import UserId
from chassis.types.money import Money
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Row, Table, Text, Uuid, bindparam, func, select, update
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


@dataclass(frozen=True, slots=True)
class _StoredIntent:
    id: str
    amount: int
    currency: str
    state: IntentState
    method: str | None
    failure_code: str | None
    failure_reason: str | None
    client_secret: str


def _stored_intent(row: Record) -> _StoredIntent:
    return _StoredIntent(
        row["id"],
        row["amount"],
        row["currency"],
        IntentState(row["state"]),
        row["method"],
        row["failure_code"],
        row["failure_reason"],
        row["client_secret"],
    )


_INTENT_BY_ID = select(_intents).where(_intents.c.id == bindparam("intent_id"))
_FIND_INTENT = Statement(_INTENT_BY_ID, _stored_intent)
_LOCK_INTENT = Statement(_INTENT_BY_ID.with_for_update(), _stored_intent)
_ADD_INTENT = Statement(
    insert(_intents)
    .values(
        {
            column: bindparam(column.key)
            for column in (
                _intents.c.id,
                _intents.c.payment_id,
                _intents.c.amount,
                _intents.c.currency,
                _intents.c.state,
                _intents.c.client_secret,
                _intents.c.created_at,
            )
        }
    )
    .on_conflict_do_nothing()
    .returning(*_intents.c),
    _stored_intent,
)
_STORE_BY_ID = (
    update(_intents)
    .where(_intents.c.id == bindparam("intent_id"))
    .values(
        {
            column: bindparam(column.key)
            for column in (_intents.c.state, _intents.c.method, _intents.c.failure_code, _intents.c.failure_reason)
        }
    )
)
_STORE_INTENT = Command(_STORE_BY_ID)
_CHARGE_ONCE = Statement(
    _STORE_BY_ID.where(
        _intents.c.state == IntentState.AWAITING_CONFIRMATION, _intents.c.failure_code.is_(None)
    ).returning(*_intents.c),
    _stored_intent,
)
"""Changes nothing and returns no row if the intent was charged, declined or cancelled before."""


class _Behaviour(Enum):
    SUCCEEDS = auto()
    DECLINES = auto()
    AUTHENTICATES = auto()
    """Requires the customer to authenticate, and then succeeds."""
    AUTHENTICATES_AND_DECLINES = auto()
    REFUNDS_LATE = auto()
    """Succeeds; its refunds are pending until they are retrieved."""


_STATE_AFTER_CHARGE = {
    _Behaviour.DECLINES: IntentState.AWAITING_CONFIRMATION,
    _Behaviour.AUTHENTICATES: IntentState.REQUIRES_ACTION,
    _Behaviour.AUTHENTICATES_AND_DECLINES: IntentState.REQUIRES_ACTION,
}
"""The states of intents whose cards were charged, unless they have succeeded."""


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
        async with self._database.autocommit() as connection:
            added = await _ADD_INTENT.first(
                connection,
                id=intent_id,
                payment_id=payment.id,
                amount=payment.amount.amount,
                currency=payment.amount.currency,
                state=IntentState.AWAITING_CONFIRMATION,
                client_secret=f"{intent_id}_secret_{secrets.token_hex(16)}",
                created_at=self._now(),
            )
        return _intent(added or await self._load(intent_id))

    async def get_intent(self, intent_id: str) -> Intent:
        return _intent(await self._load(intent_id))

    async def confirm_intent(self, payment: Payment, intent_id: str, method: PaymentMethod) -> Intent:
        charge = _charge(method.ref)
        async with self._database.autocommit() as connection:
            charged = await _CHARGE_ONCE.first(connection, intent_id=intent_id, **charge)
        row = charged or await self._load(intent_id)
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
                row = await _update(transaction, row, state=IntentState.CANCELED)
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
            is_late = _card_of(intent.method or "").behaviour is _Behaviour.REFUNDS_LATE
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

    async def _load(self, intent_id: str) -> _StoredIntent:
        async with self._database.read() as connection:
            return await _find(connection, intent_id)


def _card_of(method: str) -> _TestCard:
    """Returns the test card by its name, or by the reference of a saved one. Raises InvalidPaymentMethod."""
    card = _CARDS.get(method.partition(":")[0])
    if card is None:
        raise InvalidPaymentMethod(Failure(FailureCode.INVALID_PAYMENT_METHOD, "resource_missing"))
    return card


def _charge(method: str) -> dict[str, object]:
    """Returns what charging a card stores, as the test card behaves. Raises InvalidPaymentMethod."""
    card = _card_of(method)
    is_declined = card.behaviour is _Behaviour.DECLINES
    return {
        "method": method,
        "state": _STATE_AFTER_CHARGE.get(card.behaviour, IntentState.SUCCEEDED),
        "failure_code": FailureCode.CARD_DECLINED if is_declined else None,
        "failure_reason": card.reason if is_declined else None,
    }


async def _authenticate(transaction: AsyncConnection, row: _StoredIntent) -> _StoredIntent:
    """Continues after the customer has authenticated. The row must be locked."""
    card = _card_of(row.method or "")
    if card.behaviour is _Behaviour.AUTHENTICATES:
        return await _update(transaction, row, state=IntentState.SUCCEEDED)
    return await _update(
        transaction,
        row,
        state=IntentState.AWAITING_CONFIRMATION,
        failure_code=FailureCode.CARD_DECLINED,
        failure_reason=card.reason,
    )


async def _update(transaction: AsyncConnection, row: _StoredIntent, **changes: Any) -> _StoredIntent:
    changed = replace(row, **changes)
    await _STORE_INTENT.execute(
        transaction,
        intent_id=row.id,
        state=changed.state,
        method=changed.method,
        failure_code=changed.failure_code,
        failure_reason=changed.failure_reason,
    )
    return changed


async def _lock(transaction: AsyncConnection, intent_id: str) -> _StoredIntent:
    return _existing(await _LOCK_INTENT.first(transaction, intent_id=intent_id), intent_id)


async def _find(connection: Connection, intent_id: str) -> _StoredIntent:
    return _existing(await _FIND_INTENT.first(connection, intent_id=intent_id), intent_id)


def _existing(row: _StoredIntent | None, intent_id: str) -> _StoredIntent:
    if row is None:
        raise ProviderUnavailable(f"the simulated provider has no intent {intent_id}")
    return row


def _intent(row: _StoredIntent) -> Intent:
    return Intent(
        id=row.id,
        state=row.state,
        received=Money(row.amount, row.currency) if row.state is IntentState.SUCCEEDED else None,
        failure=None if row.failure_code is None else Failure(FailureCode(row.failure_code), row.failure_reason),
        client_secret=row.client_secret,
        next_action=NextAction("confirm_again") if row.state is IntentState.REQUIRES_ACTION else None,
    )


def _refund(row: Row[Any], currency: str) -> ProviderRefund:
    return ProviderRefund(row.id, RefundStatus(row.state), Money(row.amount, currency), refund_id=str(row.refund_id))
