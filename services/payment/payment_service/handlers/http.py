"""Payments over HTTP."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from chassis.database import idempotency
from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.problems import openapi_problem
from chassis.http.schemas import Data, KeyHeader, Money, PageOf, PageQuery, RequestBody, ResponseBody, StorableText
from chassis.types import money
from chassis.types.ids import OrderId
from fastapi import APIRouter, Depends, Header, Response
from fastapi import Request as HttpRequest
from pydantic import Field, model_validator

from payment_service.domain.payments import FailureCode, Payment, PaymentId, PaymentStatus, Refund, RefundStatus
from payment_service.domain.wallets import MethodId
from payment_service.service.paying import Choice, Paying, Shown
from payment_service.service.refunding import Refunding
from payment_service.service.wallets import Wallets
from payment_service.service.webhooks import Webhooks

_PREFIX = "/api/v1/payments"

Reference = Annotated[
    str,
    Field(
        pattern=r"^pm_[A-Za-z0-9_]{1,250}$",
        description="the provider's name of a payment method, as its own form in the browser gives it",
        examples=["pm_card_visa"],
    ),
]


class _Chosen(RequestBody):
    """At most one of the two."""

    payment_method: Reference | None = None
    payment_method_id: Annotated[UUID | None, Field(strict=False, description="one that was saved")] = None

    @model_validator(mode="after")
    def _one(self) -> "_Chosen":
        if self.payment_method is not None and self.payment_method_id is not None:
            raise ValueError("send payment_method or payment_method_id, not both")
        return self

    def to_choice(self) -> Choice | None:
        if self.payment_method_id is not None:
            return Choice(saved=MethodId(self.payment_method_id))
        return None if self.payment_method is None else Choice(ref=self.payment_method)


class PaymentRequest(_Chosen):
    """What to pay for; how much is the order's to say. With `confirm` it is charged at once."""

    order_id: Annotated[UUID, Field(strict=False)]
    confirm: bool = False

    @model_validator(mode="after")
    def _confirms_something(self) -> "PaymentRequest":
        if self.confirm and self.to_choice() is None:
            raise ValueError("to confirm at once, send payment_method or payment_method_id")
        return self


class ConfirmRequest(_Chosen):
    """What to charge. Without a method: the one that the payment was begun with, or to go on after a next action."""


class RefundRequest(RequestBody):
    """Without an amount, all that is left."""

    amount: Annotated[int | None, Field(ge=1, le=money.MAX_AMOUNT, description="minor units", examples=[500])] = None
    reason: Annotated[StorableText | None, Field(max_length=500)] = None


class MethodRequest(RequestBody):
    payment_method: Reference


class FailureAnswer(ResponseBody):
    """Why a payment failed; `reason` is finer, and the provider's."""

    code: FailureCode
    reason: str | None


class NextActionAnswer(ResponseBody):
    """What the customer must do before the payment goes on."""

    type: str
    redirect_url: str | None


class PaymentAnswer(ResponseBody):
    """`client_secret` and `next_action` are for the buyer's browser, and shown to the buyer alone while the payment is open."""

    id: UUID
    order_id: UUID
    amount: Money
    status: PaymentStatus
    provider: str
    captured: Money
    refunded: Money
    failure: FailureAnswer | None
    client_secret: str | None
    next_action: NextActionAnswer | None
    created_at: datetime
    updated_at: datetime


class RefundAnswer(ResponseBody):
    """A pending refund is finished by itself."""

    id: UUID
    payment_id: UUID
    amount: Money
    status: RefundStatus
    reason: str | None
    created_at: datetime
    settled_at: datetime | None


class MethodAnswer(ResponseBody):
    id: UUID
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    created_at: datetime


class Received(ResponseBody):
    received: bool = True


def _answers(*described: tuple[int, str]) -> dict[int | str, dict[str, Any]]:
    """Problems that a route may answer with, beside the 4XX of every route."""
    return {status: openapi_problem(text) for status, text in described}


_UNAVAILABLE = (503, "a part of the shop or the payment provider does not answer; repeat it under the same key")
_DECLINED = (402, "`card_declined`: the card was not charged and the payment has failed; a new one may follow")


def routes(paying: Paying, refunding: Refunding, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix=_PREFIX, tags=["payments"], responses=_answers(_UNAVAILABLE))
    Caller = Annotated[Principal, Depends(auth.required)]  # noqa: N806 - a type
    Admin = Annotated[Principal, Depends(auth.role(Role.ADMIN))]  # noqa: N806 - a type

    @router.post("", status_code=201, summary="Begin to pay an order", responses=_answers(_DECLINED))
    async def begin_payment(
        request: PaymentRequest, caller: Caller, response: Response, key: KeyHeader = None
    ) -> Data[PaymentAnswer]:
        shown = await paying.create(
            caller.user_id, OrderId(request.order_id), request.to_choice(), confirm=request.confirm, key=_key(key)
        )
        response.headers["Location"] = f"{_PREFIX}/{shown.payment.id}"
        return Data(data=_payment(shown))

    @router.get("", summary="One's payments, newest first")
    async def list_payments(caller: Caller, paging: PageQuery) -> PageOf[PaymentAnswer]:
        found, total = await paying.payments_of(caller.user_id, paging)
        answers = [_payment(Shown(payment)) for payment in found]
        return PageOf(data=answers, page=paging.page, limit=paging.limit, total=total)

    @router.get("/order/{order_id}", summary="The payment of an order: the live one, or the last that failed")
    async def get_payment_of_order(order_id: UUID, caller: Caller) -> Data[PaymentAnswer]:
        return Data(data=_payment(await paying.payment_of_order(caller, OrderId(order_id))))

    @router.get("/{payment_id}", summary="One payment")
    async def get_payment(payment_id: UUID, caller: Caller) -> Data[PaymentAnswer]:
        return Data(data=_payment(await paying.payment(caller, PaymentId(payment_id))))

    @router.post("/{payment_id}/confirm", summary="Charge it, once", responses=_answers(_DECLINED))
    async def confirm_payment(payment_id: UUID, request: ConfirmRequest, caller: Caller) -> Data[PaymentAnswer]:
        shown = await paying.confirm(caller.user_id, PaymentId(payment_id), request.to_choice())
        return Data(data=_payment(shown))

    @router.post("/{payment_id}/cancel", summary="Give it up before it is paid; it has failed then")
    async def cancel_payment(payment_id: UUID, caller: Caller) -> Data[PaymentAnswer]:
        return Data(data=_payment(Shown(await paying.cancel(caller, PaymentId(payment_id)))))

    @router.post("/{payment_id}/refund", status_code=201, summary="Give back part or all that is left")
    async def refund_payment(
        payment_id: UUID, admin: Admin, request: RefundRequest, key: KeyHeader = None
    ) -> Data[RefundAnswer]:
        refund = await refunding.request(
            admin.user_id, PaymentId(payment_id), request.amount, request.reason, _key(key)
        )
        return Data(data=_refund(refund))

    @router.get("/{payment_id}/refunds", summary="What was given back, newest first")
    async def list_refunds(payment_id: UUID, caller: Caller) -> Data[list[RefundAnswer]]:
        found = await refunding.refunds_of(caller, PaymentId(payment_id))
        return Data(data=[_refund(refund) for refund in found])

    return router


def method_routes(wallets: Wallets, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/payment-methods", tags=["payments"], responses=_answers(_UNAVAILABLE))
    Caller = Annotated[Principal, Depends(auth.required)]  # noqa: N806 - a type

    @router.get("", summary="One's saved payment methods, newest first")
    async def list_methods(caller: Caller) -> Data[list[MethodAnswer]]:
        return Data(data=[MethodAnswer.model_validate(method) for method in await wallets.methods_of(caller.user_id)])

    @router.post("", status_code=201, summary="Save a payment method")
    async def save_method(request: MethodRequest, caller: Caller) -> Data[MethodAnswer]:
        return Data(data=MethodAnswer.model_validate(await wallets.save(caller.user_id, request.payment_method)))

    @router.delete("/{method_id}", status_code=204, summary="Forget a payment method")
    async def remove_method(method_id: UUID, caller: Caller) -> None:
        await wallets.remove(caller.user_id, MethodId(method_id))

    return router


def webhook_routes(webhooks: Webhooks) -> APIRouter:
    router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"], responses=_answers(_UNAVAILABLE))

    @router.post(
        "/stripe",
        summary="What Stripe tells by itself; only what it has signed",
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}},
    )
    async def receive_stripe_event(
        request: HttpRequest, stripe_signature: Annotated[str | None, Header()] = None
    ) -> Received:
        await webhooks.receive(await request.body(), stripe_signature)
        return Received()

    return router


def _key(header: str | None) -> idempotency.Key | None:
    return None if header is None else idempotency.Key(header)


def _payment(shown: Shown) -> PaymentAnswer:
    payment = shown.payment
    return PaymentAnswer(
        id=payment.id,
        order_id=payment.order_id,
        amount=Money.model_validate(payment.amount),
        status=payment.status,
        provider=payment.provider,
        captured=_of(payment, payment.captured),
        refunded=_of(payment, payment.refunded),
        failure=None if payment.failure is None else FailureAnswer.model_validate(payment.failure),
        client_secret=shown.client_secret,
        next_action=None if shown.next_action is None else NextActionAnswer.model_validate(shown.next_action),
        created_at=payment.created_at,
        updated_at=payment.updated_at,
    )


def _of(payment: Payment, amount: int) -> Money:
    return Money(amount=amount, currency=payment.amount.currency)


def _refund(refund: Refund) -> RefundAnswer:
    return RefundAnswer.model_validate(refund)
