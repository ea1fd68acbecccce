"""The request bodies, response bodies and query parameters of the HTTP API."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

from chassis.http.schemas import (
    Id,
    LocalQueryTime,
    Money,
    Quantity,
    QueryTime,
    RequestBody,
    ResponseBody,
    StorableText,
    Whole,
)
from chassis.types import money
from chassis.types.countries import check_country
from chassis.types.ids import MAX_ID, ProductId
from fastapi import Query
from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema, model_validator

from order_service.domain.addresses import Address, AddressId
from order_service.domain.items import Line
from order_service.domain.orders import Actor, CancelReason, OrderStatus, Shipment
from order_service.service.placement import PlacementRequest

_AddressLine = Annotated[StorableText, Field(min_length=1, max_length=200, pattern=r"\S")]
_ShipmentText = Annotated[StorableText, StringConstraints(min_length=1, max_length=100)]


class AddressRequest(RequestBody):
    """A postal address as it is written on a parcel."""

    recipient: Annotated[_AddressLine, Field(examples=["Ada Lovelace"])]
    line1: Annotated[_AddressLine, Field(examples=["12 St James's Square"])]
    line2: _AddressLine | None = None
    city: Annotated[_AddressLine, Field(examples=["London"])]
    region: _AddressLine | None = None
    postal_code: Annotated[StorableText, Field(min_length=1, max_length=20)] | None = None
    country: Annotated[
        str,
        Field(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2", examples=["GB"]),
        AfterValidator(check_country),
    ]
    phone: Annotated[StorableText, Field(min_length=1, max_length=40)] | None = None

    def to_address(self) -> Address:
        return Address(**self.model_dump())


class AddressResponse(ResponseBody):
    """A postal address as it is written on a parcel."""

    recipient: str
    line1: str
    line2: str | None
    city: str
    region: str | None
    postal_code: str | None
    country: str
    phone: str | None


class SavedAddressResponse(AddressResponse):
    """An address in the caller's address book."""

    id: UUID


class CartItemRequest(RequestBody):
    """A product to add to the cart; its quantity is added to that in the cart."""

    product_id: Id
    quantity: Quantity


class QuantityRequest(RequestBody):
    """The new quantity of a product in the cart."""

    quantity: Quantity


class CartLineResponse(ResponseBody):
    """A line of a cart as the shop would sell it now. A product that is no longer for sale has no name and price."""

    product_id: int
    quantity: int
    name: str | None
    unit_price: Money | None
    total: Annotated[Money | None, Field(description="null also if it is larger than the largest possible order")]
    available: Annotated[
        bool | None,
        Field(
            description="true if it is for sale and enough of it in stock; null if the stock is unknown at the moment"
        ),
    ]


class CartResponse(ResponseBody):
    """A cart at current prices."""

    lines: list[CartLineResponse]
    totals: Annotated[
        list[Money], Field(description="one total per currency, of what is for sale, before shipping and tax")
    ]
    cart_token: Annotated[
        str | None, Field(description="set for a guest's new cart: send it as Cart-Token with the following requests")
    ]


class OrderItemRequest(RequestBody):
    """A product to order; its name and price come from the catalogue."""

    product_id: Id
    quantity: Quantity


class ExpectedTotal(RequestBody):
    """The total that the buyer agreed to."""

    amount: Annotated[
        int, Field(ge=0, le=money.MAX_AMOUNT, examples=[249999], description="In minor units: cents of USD"), Whole
    ]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["USD"], description="ISO 4217 code")]

    def to_money(self) -> money.Money:
        return money.Money(self.amount, self.currency)


_OrderItems = Annotated[list[OrderItemRequest], Field(min_length=1, max_length=100)]
_AddressId = Annotated[UUID, Field(strict=False)]


class OrderRequest(RequestBody):
    """What to order, and where to ship it.

    Names and prices come from the catalogue; lines of one product are added up.
    """

    items: Annotated[_OrderItems | None, Field(description="by default what is in the caller's cart")] = None
    shipping_address: Annotated[AddressRequest | None, Field(description="not together with address_id")] = None
    address_id: Annotated[
        _AddressId | None, Field(description="of the address book; not together with shipping_address")
    ] = None
    expected_total: Annotated[
        ExpectedTotal | None,
        Field(description="nothing is ordered if the order, with shipping and tax, costs another total"),
    ] = None

    @model_validator(mode="after")
    def _has_one_address(self) -> "OrderRequest":
        if self.shipping_address is not None and self.address_id is not None:
            raise ValueError("send shipping_address or address_id, not both")
        return self

    def to_placement_request(self) -> PlacementRequest:
        items = self.items
        lines = None if items is None else tuple(Line(ProductId(item.product_id), item.quantity) for item in items)
        expected = None if self.expected_total is None else self.expected_total.to_money()
        return PlacementRequest(lines, self._ship_to(), expected)

    def _ship_to(self) -> Address | AddressId | None:
        if self.shipping_address is not None:
            return self.shipping_address.to_address()
        return None if self.address_id is None else AddressId(self.address_id)


class StatusChangeRequest(RequestBody):
    """The next status of an order. A carrier and a tracking number may be sent only with `shipped`."""

    status: Annotated[OrderStatus, Field(strict=False)]
    carrier: _ShipmentText | None = None
    tracking_number: _ShipmentText | None = None

    @model_validator(mode="after")
    def _has_shipment_only_if_shipped(self) -> "StatusChangeRequest":
        if self.status is not OrderStatus.SHIPPED and self.to_shipment() is not None:
            raise ValueError("carrier and tracking_number belong to the status shipped")
        return self

    def to_shipment(self) -> Shipment | None:
        if self.carrier is None and self.tracking_number is None:
            return None
        return Shipment(self.carrier, self.tracking_number)


class ShipmentRequest(RequestBody):
    """The carrier and the tracking number of a shipped order; what is left out is unknown."""

    carrier: _ShipmentText | None = None
    tracking_number: _ShipmentText | None = None

    @model_validator(mode="after")
    def _is_known(self) -> "ShipmentRequest":
        if self.carrier is None and self.tracking_number is None:
            raise ValueError("send carrier, tracking_number or both")
        return self

    def to_shipment(self) -> Shipment:
        return Shipment(self.carrier, self.tracking_number)


class ManualPaymentRequest(RequestBody):
    """The reason for which an order counts as paid."""

    reason: Annotated[
        StorableText,
        Field(
            min_length=1,
            max_length=500,
            pattern=r"\S",
            description="how it was paid; the buyer can read it",
            examples=["bank transfer of 4 March, reference 1017"],
        ),
    ]


class OrderItemResponse(ResponseBody):
    """An item of an order, at the name and price for which it was ordered."""

    product_id: int
    name: str
    quantity: int
    unit_price: Money
    total: Money


class StatusChangeResponse(ResponseBody):
    """One entry of an order's history."""

    status: OrderStatus
    at: datetime
    by: Actor


class ShipmentResponse(ResponseBody):
    """How a shipped order travels."""

    carrier: str | None
    tracking_number: str | None


class FormerShipmentResponse(ShipmentResponse):
    """What was recorded of a shipment until it was corrected."""

    replaced_at: datetime


class ManualPaymentResponse(ResponseBody):
    """A payment of the whole order that the payment provider does not know of, such as a bank transfer."""

    amount: Money
    reason: str
    recorded_by: Annotated[int, Field(description="the admin's user id")]
    at: datetime


class PaymentSummaryResponse(ResponseBody):
    """The sum of what was paid for an order, manually too, and of what the payment provider refunded."""

    paid: Money
    refunded: Money


class OrderResponse(ResponseBody):
    """An order.

    A pending order can be paid until shortly before `expires_at`, by default 30 seconds, and is cancelled
    automatically after it, unless its payment is in process. `total` is subtotal, shipping and tax together.
    """

    id: UUID
    buyer_id: int
    status: OrderStatus
    items: list[OrderItemResponse]
    subtotal: Money
    shipping: Money
    tax: Money
    total: Money
    shipping_address: AddressResponse | None
    shipment: Annotated[ShipmentResponse | None, Field(description="set once the order is shipped, if it is known")]
    former_shipments: Annotated[list[FormerShipmentResponse], Field(description="what was corrected, oldest first")]
    payment: Annotated[PaymentSummaryResponse | None, Field(description="set once anything was paid")]
    manual_payment: Annotated[ManualPaymentResponse | None, Field(description="set if an admin recorded one")]
    cancel_reason: CancelReason | None
    history: list[StatusChangeResponse]
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """The query parameters that select the orders to list."""

    all_buyers: Annotated[bool, Query(alias="all", description="list the orders of all buyers; for admins")] = False
    buyer_id: Annotated[int | None, Query(ge=1, le=MAX_ID, description="list this buyer's orders; for admins")] = None
    status: Annotated[OrderStatus | None, Query(description="list only orders with this status")] = None
    placed_from: Annotated[
        QueryTime | None, Query(alias="from", description="list only orders placed at this time or later")
    ] = None
    placed_before: Annotated[
        QueryTime | None, Query(alias="to", description="list only orders placed before this time")
    ] = None


class IntervalSalesResponse(ResponseBody):
    """What was sold and refunded in one interval and currency.

    `start` is the interval's first moment, with the offset of the report's time zone at that time.
    """

    start: datetime
    orders: int
    units: int
    revenue: Money
    refunds: Money


class TopProductResponse(ResponseBody):
    """How often one product was ordered and sold, in one currency."""

    product_id: int
    name: str
    orders: int
    units: int
    revenue: Money


class ConversionResponse(ResponseBody):
    """How many of the orders placed in the time range were paid; `rate` is null if none was placed."""

    placed: int
    paid: int
    rate: float | None


_ReportTime = Annotated[
    LocalQueryTime,
    Field(
        description="RFC 3339; a date without a time is its first moment in `timezone`",
        examples=["2025-01-01T00:00:00Z"],
    ),
]
RangeStart = Annotated[
    _ReportTime | None,
    Query(alias="from", description="start of the time range, included; by default 30 days before `to`"),
]
RangeEnd = Annotated[
    _ReportTime | None, Query(alias="to", description="end of the time range, not included; by default now")
]
ReportZone = Annotated[
    Annotated[ZoneInfo, WithJsonSchema({"type": "string"})] | None,
    Query(
        description="IANA time zone of the report's days, such as Europe/Berlin; by default that of the shop",
        examples=["Europe/Berlin"],
    ),
]
