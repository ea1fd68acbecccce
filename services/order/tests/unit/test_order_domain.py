"""What an order costs, and the states it may go through."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.types.ids import OrderId, ProductId, UserId
from chassis.types.money import MAX_AMOUNT, Money
from hypothesis import given
from hypothesis import strategies as st
from order_service.domain.errors import (
    AlreadyShipped,
    IllegalTransition,
    MixedCurrencies,
    NotCancellable,
    NotItsPrice,
    TotalTooLarge,
    UnknownProducts,
)
from order_service.domain.orders import Actor, CancelReason, Line, Offer, Order, OrderStatus, Parcel, Step, merged

NOW = datetime(2025, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=30)
ID = OrderId(UUID(int=1))
BUYER, SELLER = UserId(3), UserId(7)

lines = st.lists(st.builds(Line, st.integers(1, 5).map(ProductId), st.integers(1, 1_000_000)), min_size=1, max_size=20)


def offer(product: int, amount: int, currency: str = "USD") -> Offer:
    return Offer(ProductId(product), f"Product {product}", Money(amount, currency), SELLER)


def place(wanted: list[tuple[int, int]], *offers: Offer) -> Order:
    chosen = [Line(ProductId(product), quantity) for product, quantity in wanted]
    return Order.place(ID, BUYER, chosen, {o.product_id: o for o in offers}, NOW, LATER)


def order_in(status: OrderStatus) -> Order:
    reason = CancelReason.BUYER if status is OrderStatus.CANCELLED else None
    return replace(place([(1, 1)], offer(1, 100)), status=status, cancel_reason=reason)


@given(lines)
def test_merging_keeps_every_unit_and_names_each_product_once_in_order(wanted: list[Line]) -> None:
    result = merged(wanted)

    products = [line.product_id for line in result]
    assert products == sorted(set(products))
    assert {line.product_id: line.quantity for line in result} == {
        product: sum(line.quantity for line in wanted if line.product_id == product) for product in products
    }
    assert merged(result) == result


def test_a_new_order_is_pending_and_costs_the_sum_of_its_lines() -> None:
    order = place([(1, 2), (2, 3)], offer(1, 1290), offer(2, 1))

    assert order.status is OrderStatus.PENDING
    assert [item.total for item in order.items] == [Money(2580, "USD"), Money(3, "USD")]
    assert order.total == Money(2583, "USD")
    assert (order.created_at, order.expires_at) == (NOW, LATER)


@given(lines, st.lists(st.integers(0, 100_000_000_000), min_size=5, max_size=5))
def test_the_total_is_the_sum_of_the_items_or_refused(wanted: list[Line], prices: list[int]) -> None:
    chosen = merged(wanted)
    offers = {ProductId(n): offer(n, amount) for n, amount in enumerate(prices, 1)}
    expected = sum(line.quantity * prices[line.product_id - 1] for line in chosen)

    if expected <= MAX_AMOUNT:
        assert Order.place(ID, BUYER, chosen, offers, NOW, LATER).total == Money(expected, "USD")
    else:
        with pytest.raises(TotalTooLarge):
            Order.place(ID, BUYER, chosen, offers, NOW, LATER)


def test_an_unknown_product_refuses_the_order_by_name() -> None:
    with pytest.raises(UnknownProducts, match="no product 2, 3") as refusal:
        place([(1, 1), (2, 1), (3, 1)], offer(1, 100))
    assert refusal.value.product_ids == (2, 3)


def test_two_currencies_refuse_the_order_by_name() -> None:
    with pytest.raises(MixedCurrencies, match="EUR and USD"):
        place([(1, 1), (2, 1)], offer(1, 100), offer(2, 100, "EUR"))


@pytest.mark.parametrize(
    ("status", "following"),
    [
        (OrderStatus.PENDING, {OrderStatus.CONFIRMED, OrderStatus.CANCELLED}),
        (OrderStatus.CONFIRMED, {OrderStatus.PROCESSING, OrderStatus.CANCELLED}),
        (OrderStatus.PROCESSING, {OrderStatus.SHIPPED}),
        (OrderStatus.SHIPPED, {OrderStatus.DELIVERED}),
        (OrderStatus.DELIVERED, set()),
        (OrderStatus.CANCELLED, set()),
    ],
)
def test_the_state_machine_is_the_designs(status: OrderStatus, following: set[OrderStatus]) -> None:
    assert {other for other in OrderStatus if status.may_become(other)} == following


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
def test_an_order_that_is_not_on_its_way_can_be_cancelled(status: OrderStatus, reason: CancelReason, by: Actor) -> None:
    cancelled = order_in(status).cancelled(reason, LATER)

    assert (cancelled.status, cancelled.cancel_reason) == (OrderStatus.CANCELLED, reason)
    assert cancelled.history[-1] == Step(OrderStatus.CANCELLED, LATER, by)


@pytest.mark.parametrize("status", [OrderStatus.PROCESSING, OrderStatus.SHIPPED, OrderStatus.DELIVERED])
def test_an_order_on_its_way_cannot_be_cancelled(status: OrderStatus) -> None:
    with pytest.raises(NotCancellable, match=status):
        order_in(status).cancelled(CancelReason.BUYER, LATER)


def test_an_order_in_processing_whose_stock_is_gone_is_cancelled() -> None:
    cancelled = order_in(OrderStatus.PROCESSING).cancelled(CancelReason.OUT_OF_STOCK, LATER)

    assert (cancelled.status, cancelled.cancel_reason) == (OrderStatus.CANCELLED, CancelReason.OUT_OF_STOCK)


@pytest.mark.parametrize("status", [OrderStatus.SHIPPED, OrderStatus.DELIVERED])
def test_an_order_that_left_is_not_cancelled_for_want_of_stock(status: OrderStatus) -> None:
    with pytest.raises(NotCancellable, match=status):
        order_in(status).cancelled(CancelReason.OUT_OF_STOCK, LATER)


def test_cancelling_again_keeps_the_first_reason() -> None:
    order = order_in(OrderStatus.CANCELLED)

    assert order.cancelled(CancelReason.EXPIRED, LATER) is order


def test_a_payment_of_what_it_costs_confirms_a_pending_order() -> None:
    order = order_in(OrderStatus.PENDING)

    paid = order.paid(order.total, LATER)

    assert paid.status is OrderStatus.CONFIRMED
    assert paid.history == (*order.history, Step(OrderStatus.CONFIRMED, LATER, Actor.SYSTEM))


@pytest.mark.parametrize("status", [status for status in OrderStatus if status is not OrderStatus.PENDING])
def test_a_payment_changes_nothing_but_a_pending_order(status: OrderStatus) -> None:
    order = order_in(status)

    assert order.paid(order.total, LATER) is order


@pytest.mark.parametrize("amount", [Money(99, "USD"), Money(101, "USD"), Money(100, "EUR")])
def test_another_amount_than_the_total_confirms_nothing(amount: Money) -> None:
    with pytest.raises(NotItsPrice, match="costs 100 USD"):
        order_in(OrderStatus.PENDING).paid(amount, LATER)


ADMINS = {
    (OrderStatus.PENDING, OrderStatus.CANCELLED),
    (OrderStatus.CONFIRMED, OrderStatus.CANCELLED),
    (OrderStatus.CONFIRMED, OrderStatus.PROCESSING),
    (OrderStatus.PROCESSING, OrderStatus.SHIPPED),
    (OrderStatus.SHIPPED, OrderStatus.DELIVERED),
}


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("wanted", OrderStatus)
def test_an_admin_moves_an_order_along_the_state_machine_and_never_confirms_one(
    status: OrderStatus, wanted: OrderStatus
) -> None:
    order = order_in(status)

    if status is wanted:
        assert order.moved(wanted, LATER) is order
    elif (status, wanted) in ADMINS:
        assert order.moved(wanted, LATER).history[-1] == Step(wanted, LATER, Actor.ADMIN)
    else:
        with pytest.raises(IllegalTransition, match=status):
            order.moved(wanted, LATER)


def test_what_is_shipped_keeps_its_first_parcel() -> None:
    parcel = Parcel("DHL", "123")
    shipped = order_in(OrderStatus.PROCESSING).moved(OrderStatus.SHIPPED, LATER, parcel)

    assert shipped.shipment == parcel
    assert shipped.moved(OrderStatus.SHIPPED, LATER) is shipped
    assert shipped.moved(OrderStatus.SHIPPED, LATER, Parcel("DHL", "123")) is shipped
    with pytest.raises(AlreadyShipped):
        shipped.moved(OrderStatus.SHIPPED, LATER, Parcel("DHL", "124"))
    assert shipped.moved(OrderStatus.DELIVERED, LATER).shipment == parcel


def test_only_a_pending_order_that_has_not_expired_may_be_paid() -> None:
    assert order_in(OrderStatus.PENDING).is_payable(LATER - timedelta(seconds=1))
    assert not order_in(OrderStatus.PENDING).is_payable(LATER)
    assert not order_in(OrderStatus.CONFIRMED).is_payable(NOW)
