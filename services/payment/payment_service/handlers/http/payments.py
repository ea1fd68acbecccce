"""The HTTP API of payments and their refunds."""

from typing import Annotated
from uuid import UUID

from chassis.database import idempotency
from chassis.http.authentication import Authenticator, Principal, Role, owner_to_list
from chassis.http.csv_documents import CSV_RESPONSES, CsvRoute
from chassis.http.cursors import CursorPageOf, TimeCursorQuery, TimePosition
from chassis.http.schemas import Data, KeyHeader, Money, query_fields
from chassis.types.ids import OrderId
from fastapi import APIRouter, Depends, Response

from payment_service.domain.payments import Payment, PaymentId, PaymentQuery
from payment_service.handlers.problems import UNAVAILABLE, problem_responses
from payment_service.handlers.schemas import (
    ConfirmRequest,
    FailureResponse,
    NextActionResponse,
    PaymentFilter,
    PaymentRequest,
    PaymentResponse,
    RefundRequest,
    RefundResponse,
)
from payment_service.service.checkout import CheckoutService
from payment_service.service.payments import PaymentQueries, PaymentView
from payment_service.service.refunds import RefundService

_PREFIX = "/api/v1/payments"
_DECLINED = (402, "`card_declined`: the card was not charged and the payment has failed; begin a new one")


def routes(
    checkout: CheckoutService, payments: PaymentQueries, refunds: RefundService, auth: Authenticator
) -> APIRouter:
    router = APIRouter(
        prefix=_PREFIX, tags=["payments"], responses=problem_responses(UNAVAILABLE), route_class=CsvRoute
    )
    Caller = Annotated[Principal, Depends(auth.required)]  # noqa: N806 - a type
    Admin = Annotated[Principal, Depends(auth.role(Role.ADMIN))]  # noqa: N806 - a type

    @router.post("", status_code=201, summary="Begin a payment of an order", responses=problem_responses(_DECLINED))
    async def begin_payment(
        request: PaymentRequest, caller: Caller, response: Response, key: KeyHeader = None
    ) -> Data[PaymentResponse]:
        view = await checkout.begin(
            caller.user_id, OrderId(request.order_id), request.to_choice(), confirm=request.confirm, key=_key(key)
        )
        response.headers["Location"] = f"{_PREFIX}/{view.payment.id}"
        return Data(data=_payment_response(view))

    @router.get(
        "",
        responses=CSV_RESPONSES,
        summary="List the caller's payments, newest first",
        description="Admins list the payments of all buyers with all=true, and those of one buyer with buyer_id."
        " A list is followed to its end by `next`: send it as `cursor`.",
    )
    async def list_payments(
        caller: Caller, paging: TimeCursorQuery, filters: Annotated[PaymentFilter, Depends(query_fields(PaymentFilter))]
    ) -> CursorPageOf[PaymentResponse]:
        page, total = await payments.list_payments(_permitted_query(filters, caller), paging)
        data = [_payment_response(PaymentView(payment)) for payment in page]
        return paging.page_of(page, data, total, TimePosition.of)

    @router.get("/order/{order_id}", summary="Get the payment of an order: the live one, or the last that failed")
    async def get_payment_of_order(order_id: UUID, caller: Caller) -> Data[PaymentResponse]:
        return Data(data=_payment_response(await payments.get_of_order(caller, OrderId(order_id))))

    @router.get("/{payment_id}", summary="Get a payment")
    async def get_payment(payment_id: UUID, caller: Caller) -> Data[PaymentResponse]:
        return Data(data=_payment_response(await payments.get(caller, PaymentId(payment_id))))

    @router.post("/{payment_id}/confirm", summary="Charge a payment, once", responses=problem_responses(_DECLINED))
    async def confirm_payment(payment_id: UUID, request: ConfirmRequest, caller: Caller) -> Data[PaymentResponse]:
        view = await checkout.confirm(caller.user_id, PaymentId(payment_id), request.to_choice())
        return Data(data=_payment_response(view))

    @router.post("/{payment_id}/cancel", summary="Cancel a payment that is not paid; its status becomes failed")
    async def cancel_payment(payment_id: UUID, caller: Caller) -> Data[PaymentResponse]:
        return Data(data=_payment_response(PaymentView(await checkout.cancel(caller, PaymentId(payment_id)))))

    @router.post("/{payment_id}/refund", status_code=201, summary="Refund a part of a payment, or all that is left")
    async def refund_payment(
        payment_id: UUID, admin: Admin, request: RefundRequest, key: KeyHeader = None
    ) -> Data[RefundResponse]:
        refund = await refunds.request(admin.user_id, PaymentId(payment_id), request.amount, request.reason, _key(key))
        return Data(data=RefundResponse.model_validate(refund))

    @router.get("/{payment_id}/refunds", summary="List the refunds of a payment, newest first")
    async def list_refunds(payment_id: UUID, caller: Caller) -> Data[list[RefundResponse]]:
        found = await refunds.list_of_payment(caller, PaymentId(payment_id))
        return Data(data=[RefundResponse.model_validate(refund) for refund in found])

    return router


def _permitted_query(filters: PaymentFilter, caller: Principal) -> PaymentQuery:
    """Returns the query for the caller's own payments, for an admin also for others'.

    Raises a 403 problem for other callers.
    """
    return PaymentQuery(
        owner_to_list(caller, filters.buyer_id, is_all=filters.all_buyers, objects="other buyers' payments"),
        None if filters.order_id is None else OrderId(filters.order_id),
        filters.status,
        filters.provider_ref,
        filters.begun_from,
        filters.begun_before,
    )


def _key(header: str | None) -> idempotency.Key | None:
    return None if header is None else idempotency.Key(header)


def _payment_response(view: PaymentView) -> PaymentResponse:
    payment = view.payment
    return PaymentResponse(
        id=payment.id,
        order_id=payment.order_id,
        amount=Money.model_validate(payment.amount),
        status=payment.status,
        provider=payment.provider,
        captured=_money(payment, payment.captured),
        refunded=_money(payment, payment.refunded),
        failure=None if payment.failure is None else FailureResponse.model_validate(payment.failure),
        client_secret=view.client_secret,
        next_action=None if view.next_action is None else NextActionResponse.model_validate(view.next_action),
        created_at=payment.created_at,
        updated_at=payment.updated_at,
    )


def _money(payment: Payment, amount: int) -> Money:
    return Money(amount=amount, currency=payment.amount.currency)
