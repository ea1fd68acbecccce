"""The payment service: says what is paid for an order, and what may still be."""

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
from order_service.domain.orders import Payment

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
    if not found.HasField("captured"):
        return OrderPayment(_STATES[found.state])
    captured = found.captured
    amount = Money(captured.amount.amount, captured.amount.currency)
    return OrderPayment(
        _STATES[found.state], Payment(captured.payment_id, amount, captured.completed_at.ToDatetime(UTC))
    )
