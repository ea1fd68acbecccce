"""The payment service: says what is paid for an order, what may still be, and what was refunded."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Protocol
from uuid import UUID

from chassis.grpc.client import call
from chassis.types.ids import OrderId
from chassis.types.money import Money
from grpc import aio
from shopapi.payment.v1 import payment_pb2, payment_pb2_grpc

from order_service.domain.expiry import OrderPayment, PaymentState
from order_service.domain.orders import Payment, Refund

_DEADLINE_SECONDS = 8.0
"""The payment service asks the provider about open payments; no request of a caller waits for this call."""
_STATES = {
    payment_pb2.PAYMENT_STATE_NONE: PaymentState.NONE,
    payment_pb2.PAYMENT_STATE_IN_PROCESS: PaymentState.IN_PROCESS,
    payment_pb2.PAYMENT_STATE_CAPTURED: PaymentState.CAPTURED,
}


class Payments(Protocol):
    async def states(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, OrderPayment]:
        """Returns the payment of each of at most 100 orders. An order is missing if its state cannot be told.

        Raises NeighbourUnavailable, NeighbourRefused.
        """


class GrpcPayments:
    def __init__(self, channel: aio.Channel) -> None:
        self._stub = payment_pb2_grpc.PaymentServiceStub(channel)

    async def states(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, OrderPayment]:
        request = payment_pb2.GetPaymentStatesRequest(order_ids=map(str, order_ids))
        response = await call(self._stub.GetPaymentStates, request, _DEADLINE_SECONDS)
        return {OrderId(UUID(found.order_id)): _payment(found) for found in response.orders if found.state in _STATES}


def _payment(found: payment_pb2.StateOfPayment) -> OrderPayment:
    captured = _captured(found.captured) if found.HasField("captured") else None
    refunds = [] if captured is None else [_refund(each, captured.id) for each in found.refunds]
    is_closed = found.is_closed if found.HasField("is_closed") else None
    return OrderPayment(_STATES[found.state], captured, refunds, is_closed)


def _captured(captured: payment_pb2.CapturedPayment) -> Payment:
    amount = Money(captured.amount.amount, captured.amount.currency)
    return Payment(captured.payment_id, amount, captured.completed_at.ToDatetime(UTC))


def _refund(refund: payment_pb2.SucceededRefund, payment_id: str) -> Refund:
    amount = Money(refund.amount.amount, refund.amount.currency)
    return Refund(refund.refund_id, payment_id, amount, refund.refunded_at.ToDatetime(UTC))
