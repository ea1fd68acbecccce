"""The bodies of requests and responses of the HTTP API."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from chassis.http.schemas import Money, QueryTime, RequestBody, ResponseBody, StorableText
from chassis.types import money
from chassis.types.ids import MAX_ID
from fastapi import Query
from pydantic import Field, model_validator

from payment_service.domain.failures import FailureCode
from payment_service.domain.payment_methods import PaymentMethodChoice, PaymentMethodId
from payment_service.domain.payments import PaymentStatus, RefundStatus

PaymentMethodReference = Annotated[
    str,
    Field(
        pattern=r"^pm_[A-Za-z0-9_]{1,250}$",
        description="the provider's id of a payment method, as its form in the browser returns it",
        examples=["pm_card_visa"],
    ),
]


class _PaymentMethodFields(RequestBody):
    """The fields that name a payment method; at most one of the two may be sent."""

    payment_method: PaymentMethodReference | None = None
    payment_method_id: Annotated[
        UUID | None, Field(strict=False, description="the id of one of the caller's saved payment methods")
    ] = None

    @model_validator(mode="after")
    def _check_at_most_one(self) -> "_PaymentMethodFields":
        if self.payment_method is not None and self.payment_method_id is not None:
            raise ValueError("send payment_method or payment_method_id, not both")
        return self

    def to_choice(self) -> PaymentMethodChoice | None:
        if self.payment_method_id is not None:
            return PaymentMethodChoice(saved=PaymentMethodId(self.payment_method_id))
        return None if self.payment_method is None else PaymentMethodChoice(ref=self.payment_method)


@dataclass(frozen=True, slots=True)
class PaymentFilter:
    """The query parameters that select the payments to list."""

    all_buyers: Annotated[bool, Query(alias="all", description="list the payments of all buyers; for admins")] = False
    buyer_id: Annotated[int | None, Query(ge=1, le=MAX_ID, description="list this buyer's payments; for admins")] = None
    order_id: Annotated[UUID | None, Query(description="list only payments of this order")] = None
    status: Annotated[PaymentStatus | None, Query(description="list only payments with this status")] = None
    provider_ref: Annotated[
        str | None,
        Query(pattern=r"^[A-Za-z0-9_]{1,255}$", description="list only the payment with this id at the provider"),
    ] = None
    begun_from: Annotated[
        QueryTime | None, Query(alias="from", description="list only payments begun at this time or later")
    ] = None
    begun_before: Annotated[
        QueryTime | None, Query(alias="to", description="list only payments begun before this time")
    ] = None


class PaymentRequest(_PaymentMethodFields):
    """The order to pay; its amount is what the order costs."""

    order_id: Annotated[UUID, Field(strict=False)]
    confirm: Annotated[bool, Field(description="charge the payment method at once")] = False

    @model_validator(mode="after")
    def _check_confirmable(self) -> "PaymentRequest":
        if self.confirm and self.to_choice() is None:
            raise ValueError("to confirm at once, send payment_method or payment_method_id")
        return self


class ConfirmRequest(_PaymentMethodFields):
    """The payment method to charge.

    Without one, the payment's own is charged, or the payment is continued after its next action.
    """


class RefundRequest(RequestBody):
    """The amount to refund; without one, all that is left."""

    amount: Annotated[int | None, Field(ge=1, le=money.MAX_AMOUNT, description="minor units", examples=[500])] = None
    reason: Annotated[
        StorableText | None, Field(max_length=500, description="why it is refunded; the buyer can read it")
    ] = None


class PaymentMethodRequest(RequestBody):
    """The payment method to save."""

    payment_method: PaymentMethodReference


class FailureResponse(ResponseBody):
    """The reason for which a payment failed."""

    code: FailureCode
    reason: Annotated[str | None, Field(description="the provider's finer code, such as insufficient_funds")]


class NextActionResponse(ResponseBody):
    """The action that the customer must take before the payment can continue."""

    type: str
    redirect_url: Annotated[str | None, Field(description="the page to do it on, if it is another page")]


class PaymentResponse(ResponseBody):
    """A payment. `client_secret` and `next_action` are shown to its buyer only, and only while it is open."""

    id: UUID
    order_id: UUID
    amount: Annotated[Money, Field(description="what the order costs")]
    status: PaymentStatus
    provider: str
    captured: Annotated[Money, Field(description="what was charged")]
    refunded: Annotated[Money, Field(description="what was refunded of it")]
    failure: FailureResponse | None
    client_secret: Annotated[str | None, Field(description="for the provider's script in the buyer's browser")]
    next_action: NextActionResponse | None
    created_at: datetime
    updated_at: datetime


class RefundResponse(ResponseBody):
    """A refund. A pending one is finished without another request."""

    id: UUID
    payment_id: UUID
    amount: Money
    status: RefundStatus
    reason: str | None
    created_at: datetime
    settled_at: Annotated[datetime | None, Field(description="when it succeeded or failed")]


class PaymentMethodResponse(ResponseBody):
    """A saved payment method."""

    id: UUID
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    created_at: datetime


class WebhookResponse(ResponseBody):
    """The acknowledgement of a webhook."""

    received: bool = True
