"""What an order costs, and the states that it goes through."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.types.ids import OrderId, ProductId, UserId
from chassis.types.money import MAX_AMOUNT, Money
from hypothesis import given
from hypothesis import strategies as st
from order_service.domain.errors import (
    AlreadyPaid,
    AlreadyShipped,
    IllegalTransition,
    MixedCurrencies,
    NotCancellable,
    NotShipped,
    OrderRefunded,
    TotalTooLarge,
    UnknownProducts,
    WrongAmountPaid,
)
from order_service.domain.expiry import ExpiryPolicy
from order_service.domain.items import Line, Offer, merge_lines, price_items
from order_service.domain.orders import (
    Actor,
    CancelReason,
    FormerShipment,
    ManualPayment,
    Order,
    OrderStatus,
    PayableOrder,
    PaymentSummary,
    Shipment,
    StatusChange,
)
from order_service.domain.pricing import PricingRules

NOW = datetime(2025, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=30)
ID = OrderId(UUID(int=1))
BUYER, SELLER = UserId(3), UserId(7)

lines = st.lists(st.builds(Line, st.integers(1, 5).map(ProductId), st.integers(1, 1_000_000)), min_size=1, max_size=20)


def offer(product: int, amount: int, currency: str = "USD") -> Offer:
    return Offer(ProductId(product), f"Product {product}", Money(amount, currency), SELLER)


def place(quantities: list[tuple[int, int]], *offers: Offer) -> Order:
    requested = [Line(ProductId(product), quantity) for product, quantity in quantities]
    return place_lines(requested, {offer.product_id: offer for offer in offers})


def place_lines(requested: Sequence[Line], offers: Mapping[ProductId, Offer]) -> Order:
    return Order.place(ID, BUYER, price_items(requested, offers), PricingRules(), NOW, LATER)


def order_in(status: OrderStatus) -> Order:
    reason = CancelReason.BUYER if status is OrderStatus.CANCELLED else None
    return replace(place([(1, 1)], offer(1, 100)), status=status, cancel_reason=reason)


@given(lines)
def test_merged_lines_keep_every_unit_with_one_line_per_product_in_order(requested: list[Line]) -> None:
    result = merge_lines(requested)

    products = [line.product_id for line in result]
    assert products == sorted(set(products))
    assert {line.product_id: line.quantity for line in result} == {
        product: sum(line.quantity for line in requested if line.product_id == product) for product in products
    }
    assert merge_lines(result) == result


def test_a_new_order_is_pending_and_costs_the_sum_of_its_lines() -> None:
    order = place([(1, 2), (2, 3)], offer(1, 1290), offer(2, 1))

    assert order.status is OrderStatus.PENDING
    assert [item.total for item in order.items] == [Money(2580, "USD"), Money(3, "USD")]
    assert order.total == Money(2583, "USD")
    assert (order.created_at, order.expires_at) == (NOW, LATER)


@given(lines, st.lists(st.integers(0, 100_000_000_000), min_size=5, max_size=5))
def test_the_total_is_the_sum_of_the_items_or_refused(requested: list[Line], prices: list[int]) -> None:
    merged = merge_lines(requested)
    offers = {ProductId(n): offer(n, amount) for n, amount in enumerate(prices, 1)}
    expected = sum(line.quantity * prices[line.product_id - 1] for line in merged)

    if expected <= MAX_AMOUNT:
        assert place_lines(merged, offers).total == Money(expected, "USD")
    else:
        with pytest.raises(TotalTooLarge):
            place_lines(merged, offers)


def test_unknown_products_are_refused_by_id() -> None:
    with pytest.raises(UnknownProducts, match="no product 2, 3") as refusal:
        place([(1, 1), (2, 1), (3, 1)], offer(1, 100))
    assert refusal.value.product_ids == (2, 3)


def test_mixed_currencies_are_refused_by_name() -> None:
    with pytest.raises(MixedCurrencies, match="EUR and USD"):
        place([(1, 1), (2, 1)], offer(1, 100), offer(2, 100, "EUR"))


@pytest.mark.parametrize(
    ("status", "next_statuses"),
    [
        (OrderStatus.PENDING, {OrderStatus.CONFIRMED, OrderStatus.CANCELLED}),
        (OrderStatus.CONFIRMED, {OrderStatus.PROCESSING, OrderStatus.CANCELLED}),
        (OrderStatus.PROCESSING, {OrderStatus.SHIPPED, OrderStatus.CANCELLED}),
        (OrderStatus.SHIPPED, {OrderStatus.DELIVERED}),
        (OrderStatus.DELIVERED, set()),
        (OrderStatus.CANCELLED, set()),
    ],
)
def test_the_state_machine_allows_these_transitions(status: OrderStatus, next_statuses: set[OrderStatus]) -> None:
    assert {other for other in OrderStatus if status.can_become(other)} == next_statuses


@pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.CONFIRMED])
@pytest.mark.parametrize(
    ("reason", "by"),
    [
        (CancelReason.BUYER, Actor.BUYER),
        (CancelReason.ADMIN, Actor.ADMIN),
        (CancelReason.EXPIRED, Actor.SYSTEM),
        (CancelReason.OUT_OF_STOCK, Actor.SYSTEM),
    ],
)
def test_a_pending_or_confirmed_order_can_be_cancelled(status: OrderStatus, reason: CancelReason, by: Actor) -> None:
    cancelled = order_in(status).cancel(reason, LATER)

    assert (cancelled.status, cancelled.cancel_reason) == (OrderStatus.CANCELLED, reason)
    assert cancelled.history[-1] == StatusChange(OrderStatus.CANCELLED, LATER, by)


@pytest.mark.parametrize("status", [OrderStatus.PROCESSING, OrderStatus.SHIPPED, OrderStatus.DELIVERED])
def test_a_buyer_cannot_cancel_an_order_in_processing_or_later(status: OrderStatus) -> None:
    with pytest.raises(NotCancellable, match=status):
        order_in(status).cancel(CancelReason.BUYER, LATER)


@pytest.mark.parametrize("reason", [CancelReason.ADMIN, CancelReason.OUT_OF_STOCK])
def test_the_shop_can_cancel_an_order_until_it_is_shipped(reason: CancelReason) -> None:
    cancelled = order_in(OrderStatus.PROCESSING).cancel(reason, LATER)

    assert (cancelled.status, cancelled.cancel_reason) == (OrderStatus.CANCELLED, reason)
    for status in (OrderStatus.SHIPPED, OrderStatus.DELIVERED):
        with pytest.raises(NotCancellable, match=status):
            order_in(status).cancel(reason, LATER)


@pytest.mark.parametrize(
    ("paid", "refunded", "is_refunded"), [(100, 0, False), (100, 99, False), (100, 100, True), (0, 0, False)]
)
def test_an_order_whose_payments_are_refunded_is_neither_processed_nor_shipped(
    paid: int, refunded: int, is_refunded: bool
) -> None:
    payment = PaymentSummary(Money(paid, "USD"), Money(refunded, "USD"))
    for status, requested in (
        (OrderStatus.CONFIRMED, OrderStatus.PROCESSING),
        (OrderStatus.PROCESSING, OrderStatus.SHIPPED),
    ):
        order = replace(order_in(status), payment=payment)
        if is_refunded:
            with pytest.raises(OrderRefunded):
                order.change_status(requested, LATER)
        else:
            assert order.change_status(requested, LATER).status is requested
    assert replace(order_in(OrderStatus.SHIPPED), payment=payment).change_status(OrderStatus.DELIVERED, LATER)
    assert replace(order_in(OrderStatus.PROCESSING), payment=payment).change_status(OrderStatus.CANCELLED, LATER)


def test_cancelling_again_keeps_the_first_reason() -> None:
    order = order_in(OrderStatus.CANCELLED)

    assert order.cancel(CancelReason.EXPIRED, LATER) is order


def test_a_payment_of_the_total_confirms_a_pending_order() -> None:
    order = order_in(OrderStatus.PENDING)

    paid = order.confirm(order.total, LATER)

    assert paid.status is OrderStatus.CONFIRMED
    assert paid.history == (*order.history, StatusChange(OrderStatus.CONFIRMED, LATER, Actor.SYSTEM))


@pytest.mark.parametrize("status", [status for status in OrderStatus if status is not OrderStatus.PENDING])
def test_a_payment_changes_only_a_pending_order(status: OrderStatus) -> None:
    order = order_in(status)

    assert order.confirm(order.total, LATER) is order


@pytest.mark.parametrize("amount", [Money(99, "USD"), Money(101, "USD"), Money(100, "EUR")])
def test_a_payment_of_another_amount_confirms_nothing(amount: Money) -> None:
    with pytest.raises(WrongAmountPaid, match="costs 100 USD"):
        order_in(OrderStatus.PENDING).confirm(amount, LATER)


ADMIN_TRANSITIONS = {
    (OrderStatus.PENDING, OrderStatus.CANCELLED),
    (OrderStatus.CONFIRMED, OrderStatus.CANCELLED),
    (OrderStatus.PROCESSING, OrderStatus.CANCELLED),
    (OrderStatus.CONFIRMED, OrderStatus.PROCESSING),
    (OrderStatus.PROCESSING, OrderStatus.SHIPPED),
    (OrderStatus.SHIPPED, OrderStatus.DELIVERED),
}


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("requested", OrderStatus)
def test_an_admin_changes_statuses_along_the_state_machine_and_never_confirms(
    status: OrderStatus, requested: OrderStatus
) -> None:
    order = order_in(status)

    if status is requested:
        assert order.change_status(requested, LATER) is order
    elif (status, requested) in ADMIN_TRANSITIONS:
        assert order.change_status(requested, LATER).history[-1] == StatusChange(requested, LATER, Actor.ADMIN)
    else:
        with pytest.raises(IllegalTransition, match=status):
            order.change_status(requested, LATER)


def test_a_shipped_order_keeps_its_first_shipment() -> None:
    shipment = Shipment("DHL", "123")
    shipped = order_in(OrderStatus.PROCESSING).change_status(OrderStatus.SHIPPED, LATER, shipment)

    assert shipped.shipment == shipment
    assert shipped.change_status(OrderStatus.SHIPPED, LATER) is shipped
    assert shipped.change_status(OrderStatus.SHIPPED, LATER, Shipment("DHL", "123")) is shipped
    with pytest.raises(AlreadyShipped):
        shipped.change_status(OrderStatus.SHIPPED, LATER, Shipment("DHL", "124"))
    assert shipped.change_status(OrderStatus.DELIVERED, LATER).shipment == shipment


def test_a_manual_payment_confirms_a_pending_order() -> None:
    order = order_in(OrderStatus.PENDING)

    paid = order.pay_manually("bank transfer", UserId(1), LATER)

    assert paid.history[-1] == StatusChange(OrderStatus.CONFIRMED, LATER, Actor.ADMIN)
    assert paid.manual_payment == ManualPayment(order.total, "bank transfer", UserId(1), LATER)
    assert paid.payment == PaymentSummary(order.total, Money(0, "USD"))
    assert paid.pay_manually("bank transfer", UserId(2), LATER) is paid
    with pytest.raises(AlreadyPaid):
        paid.pay_manually("cash", UserId(1), LATER)


@pytest.mark.parametrize("status", [OrderStatus.CONFIRMED, OrderStatus.PROCESSING, OrderStatus.SHIPPED])
def test_a_manual_payment_pays_a_refunded_order_again(status: OrderStatus) -> None:
    order = replace(order_in(status), payment=PaymentSummary(Money(100, "USD"), Money(100, "USD")))

    paid = order.pay_manually("cash", UserId(1), LATER)

    assert (paid.status, paid.history) == (status, order.history)
    assert paid.payment == PaymentSummary(Money(200, "USD"), Money(100, "USD"))
    assert not paid.payment.is_refunded
    with pytest.raises(AlreadyPaid):
        paid.pay_manually("cash again", UserId(1), LATER)


def test_a_paid_or_cancelled_order_is_not_paid_manually() -> None:
    with pytest.raises(AlreadyPaid):
        replace(
            order_in(OrderStatus.CONFIRMED), payment=PaymentSummary(Money(100, "USD"), Money(99, "USD"))
        ).pay_manually("cash", UserId(1), LATER)
    with pytest.raises(IllegalTransition, match="cancelled"):
        order_in(OrderStatus.CANCELLED).pay_manually("cash", UserId(1), LATER)


def test_a_corrected_shipment_keeps_the_former_ones() -> None:
    shipped = order_in(OrderStatus.PROCESSING).change_status(OrderStatus.SHIPPED, NOW, Shipment("DHL", "123"))

    corrected = shipped.correct_shipment(Shipment("DHL", "124"), LATER)

    assert corrected.shipment == Shipment("DHL", "124")
    assert corrected.former_shipments == (FormerShipment("DHL", "123", LATER),)
    assert corrected.history == shipped.history
    assert corrected.correct_shipment(Shipment("DHL", "124"), LATER) is corrected


@pytest.mark.parametrize("status", [status for status in OrderStatus if status is not OrderStatus.SHIPPED])
def test_only_the_shipment_of_a_shipped_order_is_corrected(status: OrderStatus) -> None:
    with pytest.raises(NotShipped, match=status):
        order_in(status).correct_shipment(Shipment("DHL", "124"), LATER)


def test_only_a_pending_order_can_be_paid_and_not_in_the_last_moments_before_its_expiry() -> None:
    margin = timedelta(seconds=30)
    order = PayableOrder(ID, BUYER, OrderStatus.PENDING, Money(100, "USD"), LATER, is_buyer_erased=False)
    assert order.is_payable(LATER - timedelta(seconds=31), margin)
    assert not order.is_payable(LATER - timedelta(seconds=30), margin)
    assert not replace(order, status=OrderStatus.CONFIRMED).is_payable(NOW, margin)
    assert not replace(order, is_buyer_erased=True).is_payable(NOW, margin)


def test_an_order_waits_for_a_payment_in_process_with_growing_delays_until_the_longest_wait() -> None:
    policy, order = ExpiryPolicy(timedelta(seconds=30), timedelta(hours=1)), order_in(OrderStatus.PENDING)

    def delay_after(waited: timedelta) -> timedelta | None:
        at = order.expires_at + waited
        next_check = policy.next_check(order, at)
        return None if next_check is None else next_check - at

    delays = [delay_after(timedelta(seconds=seconds)) for seconds in (0, 30, 120, 3600)]
    assert delays == [timedelta(seconds=seconds) for seconds in (5, 7.5, 30, 300)]
    assert delay_after(timedelta(hours=1, seconds=30)) is None
