"""The gRPC service of payments."""

from collections.abc import Sequence
from uuid import UUID

from chassis.errors import ProblemError
from chassis.grpc.access import method_callers
from chassis.grpc.wire import timestamp
from chassis.http.problems import INVALID_FIELD
from chassis.types.ids import OrderId
from grpc import aio
from shopapi.money.v1 import money_pb2
from shopapi.payment.v1 import payment_pb2 as pb
from shopapi.payment.v1 import payment_pb2_grpc

from payment_service.domain.payment_states import OrderPayment, PaymentState
from payment_service.domain.payments import Payment
from payment_service.service.payment_states import PaymentStates

_MAX_ORDERS = 100
_STATES = {
    PaymentState.NONE: pb.PAYMENT_STATE_NONE,
    PaymentState.IN_PROCESS: pb.PAYMENT_STATE_IN_PROCESS,
    PaymentState.CAPTURED: pb.PAYMENT_STATE_CAPTURED,
}
ALLOWED_CALLERS = method_callers(
    "shopapi.payment.v1.PaymentService",
    GetPaymentStates={"order"},
)


class PaymentServicer(payment_pb2_grpc.PaymentServiceServicer):
    def __init__(self, states: PaymentStates) -> None:
        self._states = states

    def register(self, server: aio.Server) -> None:
        payment_pb2_grpc.add_PaymentServiceServicer_to_server(self, server)

    async def GetPaymentStates(  # noqa: N802 - the contract's name
        self, request: pb.GetPaymentStatesRequest, context: object
    ) -> pb.GetPaymentStatesResponse:
        states = await self._states.of_orders(_order_ids(request.order_ids))
        return pb.GetPaymentStatesResponse(orders=[_state(order_id, found) for order_id, found in states.items()])


def _state(order_id: OrderId, found: OrderPayment) -> pb.StateOfPayment:
    captured = None if found.captured is None else _captured(found.captured)
    return pb.StateOfPayment(order_id=str(order_id), state=_STATES[found.state], captured=captured)


def _captured(payment: Payment) -> pb.CapturedPayment:
    return pb.CapturedPayment(
        payment_id=str(payment.id),
        amount=money_pb2.Money(amount=payment.captured, currency=payment.amount.currency),
        completed_at=timestamp(payment.updated_at),
    )


def _order_ids(texts: Sequence[str]) -> list[OrderId]:
    """Returns the ids, each once. Raises a 422 problem for too many, or for a text that is no UUID."""
    if len(texts) > _MAX_ORDERS:
        raise ProblemError(INVALID_FIELD, f"order_ids: must be at most {_MAX_ORDERS}")
    try:
        return [OrderId(UUID(text)) for text in dict.fromkeys(texts)]
    except ValueError:
        raise ProblemError(INVALID_FIELD, "order_ids: must be UUIDs") from None
