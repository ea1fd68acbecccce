"""What an order costs, and the states it may go through."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.kernel.ids import OrderId, ProductId, UserId
from chassis.kernel.money import MAX_AMOUNT, Money
from hypothesis import given
from hypothesis import strategies as st
from order_service.domain.errors import KeyReused, MixedCurrencies, NotCancellable, TotalTooLarge, UnknownProducts
from order_service.domain.idempotency import Claim, fingerprint
from order_service.domain.orders import CancelReason, Line, Offer, Order, OrderStatus, merged

NOW = datetime(2025, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=30)
ID = OrderId(UUID(int=1))
BUYER = UserId(3)

lines = st.lists(st.builds(Line, st.integers(1, 5).map(ProductId), st.integers(1, 1_000_000)), min_size=1, max_size=20)


def offer(product: int, amount: int, currency: str = "USD") -> Offer:
    return Offer(ProductId(product), f"Product {product}", Money(amount, currency))


def place(wanted: list[tuple[int, int]], *offers: Offer) -> Order:
    chosen = [Line(ProductId(product), quantity) for product, quantity in wanted]
    return Order.place(ID, BUYER, chosen, {o.product_id: o for o in offers}, NOW, LATER)


def order_in(status: OrderStatus) -> Order:
    reason = CancelReason.BUYER if status is OrderStatus.CANCELLED else None
    return Order(ID, BUYER, (), Money(0, "USD"), NOW, LATER, status, reason)


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
@pytest.mark.parametrize("reason", CancelReason)
def test_an_order_that_is_not_on_its_way_can_be_cancelled(status: OrderStatus, reason: CancelReason) -> None:
    cancelled = order_in(status).cancelled(reason)

    assert (cancelled.status, cancelled.cancel_reason) == (OrderStatus.CANCELLED, reason)


@pytest.mark.parametrize("status", [OrderStatus.PROCESSING, OrderStatus.SHIPPED, OrderStatus.DELIVERED])
def test_an_order_on_its_way_cannot_be_cancelled(status: OrderStatus) -> None:
    with pytest.raises(NotCancellable, match=status):
        order_in(status).cancelled(CancelReason.BUYER)


def test_cancelling_again_keeps_the_first_reason() -> None:
    order = order_in(OrderStatus.CANCELLED)

    assert order.cancelled(CancelReason.EXPIRED) is order


@given(lines)
def test_the_fingerprint_knows_what_is_ordered_not_how_it_is_written(wanted: list[Line]) -> None:
    assert fingerprint(merged(wanted)) == fingerprint(merged(list(reversed(wanted))))
    assert fingerprint(merged(wanted)) != fingerprint(merged([*wanted, Line(ProductId(1), 1)]))


def test_a_key_goes_on_with_the_first_order_and_refuses_another_body() -> None:
    first, second, other = (Claim(OrderId(UUID(int=n)), body) for n, body in ((1, "a"), (2, "a"), (3, "b")))

    assert second.settled_by(first) == first.order_id
    with pytest.raises(KeyReused):
        other.settled_by(first)
