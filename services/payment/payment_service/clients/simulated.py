"""A provider for development: cards by the names of Stripe's test payment methods, each with its one outcome.

https://docs.stripe.com/testing. It plays the far side, so it keeps books of its own, in tables of its own in the payments database:
they survive a restart, and the rest of this service reads them through the port alone.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from chassis.database.engine import Database
from chassis.types.ids import UserId
from chassis.types.money import Money
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Row, Select, Table, Text, Uuid, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.clients.provider import ProviderRefund, RefundState, SavedCard
from payment_service.domain.errors import Declined, InvalidMethod, ProviderRefused, ProviderUnavailable
from payment_service.domain.intents import Intent, IntentState, NextAction
from payment_service.domain.payments import Failure, FailureCode, Method, Payment, Refund

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


class _Outcome(StrEnum):
    PAYS = "pays"
    DECLINES = "declines"
    ASKS = "asks"
    """Wants the customer to authenticate, and then pays."""
    ASKS_AND_DECLINES = "asks_and_declines"
    PAYS_AND_REFUNDS_LATE = "pays_and_refunds_late"


@dataclass(frozen=True, slots=True)
class _TestCard:
    last4: str
    outcome: _Outcome = _Outcome.PAYS
    reason: str | None = None
    brand: str = "visa"


_CARDS: Mapping[str, _TestCard] = {
    "pm_card_visa": _TestCard("4242"),
    "pm_card_visa_debit": _TestCard("5556"),
    "pm_card_mastercard": _TestCard("4444", brand="mastercard"),
    "pm_card_amex": _TestCard("8431", brand="amex"),
    "pm_card_discover": _TestCard("9424", brand="discover"),
    "pm_card_chargeDeclined": _TestCard("0002", _Outcome.DECLINES, "generic_decline"),
    "pm_card_visa_chargeDeclined": _TestCard("0002", _Outcome.DECLINES, "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": _TestCard("9995", _Outcome.DECLINES, "insufficient_funds"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": _TestCard("9995", _Outcome.DECLINES, "insufficient_funds"),
    "pm_card_visa_chargeDeclinedLostCard": _TestCard("9987", _Outcome.DECLINES, "generic_decline"),
    "pm_card_visa_chargeDeclinedStolenCard": _TestCard("9979", _Outcome.DECLINES, "generic_decline"),
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": _TestCard("6975", _Outcome.DECLINES, "card_velocity_exceeded"),
    "pm_card_chargeDeclinedExpiredCard": _TestCard("0069", _Outcome.DECLINES, "expired_card"),
    "pm_card_chargeDeclinedIncorrectCvc": _TestCard("0127", _Outcome.DECLINES, "incorrect_cvc"),
    "pm_card_chargeDeclinedProcessingError": _TestCard("0119", _Outcome.DECLINES, "processing_error"),
    "pm_card_chargeCustomerFail": _TestCard("0341", _Outcome.DECLINES, "generic_decline"),
    "pm_card_authenticationRequired": _TestCard("3184", _Outcome.ASKS),
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": _TestCard(
        "3178", _Outcome.ASKS_AND_DECLINES, "insufficient_funds"
    ),
    "pm_card_pendingRefund": _TestCard("7726", _Outcome.PAYS_AND_REFUNDS_LATE),
}


class SimulatedProvider:
    name = "simulated"

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
            state=IntentState.AWAITING,
            client_secret=f"{intent_id}_secret_{secrets.token_hex(16)}",
            created_at=self._now(),
        )
        async with self._database.begin() as transaction:
            await transaction.execute(new.on_conflict_do_nothing())
            return _intent(await _locked(transaction, intent_id))

    async def intent(self, intent_id: str) -> Intent:
        async with self._database.begin() as transaction:
            return _intent(await _found(transaction, intent_id))

    async def confirm(self, payment: Payment, intent_id: str, method: Method) -> Intent:
        card = _card_of(method.ref)
        async with self._database.begin() as transaction:
            row = await _locked(transaction, intent_id)
            if row.state == IntentState.AWAITING and row.failure_code is None:
                row = await _charge(transaction, intent_id, method.ref, card)
        if row.state == IntentState.AWAITING and row.failure_code is not None:
            raise Declined(Failure(FailureCode(row.failure_code), row.failure_reason))
        return _intent(row)

    async def resume(self, intent_id: str) -> Intent:
        async with self._database.begin() as transaction:
            row = await _locked(transaction, intent_id)
            if row.state == IntentState.ACTION:
                row = await _authenticated(transaction, row)
            return _intent(row)

    async def cancel(self, intent_id: str) -> Intent:
        async with self._database.begin() as transaction:
            row = await _locked(transaction, intent_id)
            if row.state in (IntentState.AWAITING, IntentState.ACTION):
                row = await _changed(transaction, intent_id, state=IntentState.CANCELED)
            return _intent(row)

    async def refund(self, refund: Refund, intent_id: str, *, is_repeated: bool) -> ProviderRefund:
        async with self._database.begin() as transaction:
            intent = await _locked(transaction, intent_id)
            made = select(_refunds).where(_refunds.c.refund_id == refund.id)
            if (row := (await transaction.execute(made)).first()) is not None:
                return _refund(row, intent.currency)
            given_back = select(func.coalesce(func.sum(_refunds.c.amount), 0)).where(_refunds.c.intent_id == intent_id)
            left = intent.amount - (await transaction.scalar(given_back) or 0)
            if intent.state != IntentState.SUCCEEDED or refund.amount.amount > left:
                raise ProviderRefused(Failure(FailureCode.REFUSED_BY_PROVIDER, "amount_too_large"))
            is_late = _card_of(intent.method).outcome is _Outcome.PAYS_AND_REFUNDS_LATE
            new = insert(_refunds).values(
                id=f"re_sim_{refund.id.hex}",
                refund_id=refund.id,
                intent_id=intent_id,
                amount=refund.amount.amount,
                state=RefundState.PENDING if is_late else RefundState.SUCCEEDED,
                created_at=self._now(),
            )
            return _refund((await transaction.execute(new.returning(_refunds))).one(), intent.currency)

    async def refund_state(self, provider_ref: str) -> ProviderRefund:
        """A refund that was pending has succeeded by the time somebody asks again."""
        done = update(_refunds).where(_refunds.c.id == provider_ref).values(state=RefundState.SUCCEEDED)
        async with self._database.begin() as transaction:
            row = (await transaction.execute(done.returning(_refunds))).first()
            if row is None:
                raise ProviderUnavailable(f"the simulated provider knows no refund {provider_ref}")
            intent = await _found(transaction, row.intent_id)
            return _refund(row, intent.currency)

    async def refunds(self, intent_id: str) -> Sequence[ProviderRefund]:
        async with self._database.begin() as transaction:
            intent = await _found(transaction, intent_id)
            made = await transaction.execute(select(_refunds).where(_refunds.c.intent_id == intent_id))
            return [_refund(row, intent.currency) for row in made]

    async def create_customer(self, user_id: UserId) -> str:
        return f"cus_sim_{user_id}"

    async def attach(self, customer: str, method: str) -> SavedCard:
        """As with Stripe, each saving of a test card makes a payment method of its own."""
        card = _card_of(method)
        if card.reason is not None and method != "pm_card_chargeCustomerFail" and card.outcome is _Outcome.DECLINES:
            raise Declined(Failure(FailureCode.CARD_DECLINED, card.reason))
        return SavedCard(f"{method}:{uuid4().hex}", card.brand, card.last4, 12, self._now().year + 5)

    async def detach(self, method: str) -> None:
        """A saved card is its reference: who forgets that has forgotten the card."""

    async def erase_customer(self, customer: str) -> None:
        """Nothing is kept for a customer."""

    async def close(self) -> None:
        """Its connections are the database's."""


def _card_of(method: str) -> _TestCard:
    """By the test card's name, of a saved one too. Raises InvalidMethod."""
    card = _CARDS.get(method.partition(":")[0])
    if card is None:
        raise InvalidMethod(Failure(FailureCode.INVALID_PAYMENT_METHOD, "resource_missing"))
    return card


async def _charge(transaction: AsyncConnection, intent_id: str, method: str, card: _TestCard) -> Row[Any]:
    """The row must be locked."""
    if card.outcome is _Outcome.DECLINES:
        return await _changed(
            transaction, intent_id, method=method, failure_code=FailureCode.CARD_DECLINED, failure_reason=card.reason
        )
    asks = card.outcome in (_Outcome.ASKS, _Outcome.ASKS_AND_DECLINES)
    state = IntentState.ACTION if asks else IntentState.SUCCEEDED
    return await _changed(transaction, intent_id, method=method, state=state)


async def _authenticated(transaction: AsyncConnection, row: Row[Any]) -> Row[Any]:
    """The row must be locked."""
    card = _card_of(row.method)
    if card.outcome is _Outcome.ASKS:
        return await _changed(transaction, row.id, state=IntentState.SUCCEEDED)
    return await _changed(
        transaction,
        row.id,
        state=IntentState.AWAITING,
        failure_code=FailureCode.CARD_DECLINED,
        failure_reason=card.reason,
    )


async def _changed(transaction: AsyncConnection, intent_id: str, **values: str | None) -> Row[Any]:
    changed = update(_intents).where(_intents.c.id == intent_id).values(**values).returning(_intents)
    row: Row[Any] = (await transaction.execute(changed)).one()
    return row


async def _locked(transaction: AsyncConnection, intent_id: str) -> Row[Any]:
    return await _one(transaction, intent_id, is_locked=True)


async def _found(transaction: AsyncConnection, intent_id: str) -> Row[Any]:
    return await _one(transaction, intent_id, is_locked=False)


async def _one(transaction: AsyncConnection, intent_id: str, *, is_locked: bool) -> Row[Any]:
    wanted: Select[Any] = select(_intents).where(_intents.c.id == intent_id)
    if is_locked:
        wanted = wanted.with_for_update()
    row: Row[Any] | None = (await transaction.execute(wanted)).first()
    if row is None:
        raise ProviderUnavailable(f"the simulated provider knows no intent {intent_id}")
    return row


def _intent(row: Row[Any]) -> Intent:
    state = IntentState(row.state)
    return Intent(
        id=row.id,
        state=state,
        received=Money(row.amount, row.currency) if state is IntentState.SUCCEEDED else None,
        failure=None if row.failure_code is None else Failure(FailureCode(row.failure_code), row.failure_reason),
        client_secret=row.client_secret,
        next_action=NextAction("confirm_again") if state is IntentState.ACTION else None,
    )


def _refund(row: Row[Any], currency: str) -> ProviderRefund:
    return ProviderRefund(row.id, RefundState(row.state), Money(row.amount, currency), made_as=str(row.refund_id))
