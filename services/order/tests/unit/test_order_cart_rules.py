"""What a cart shows, and what of a guest's cart goes into a user's."""

from chassis.types.ids import ProductId, UserId
from chassis.types.money import MAX_AMOUNT, Money
from hypothesis import given
from hypothesis import strategies as st
from order_service.domain.carts import MAX_LINES, Cart, covers, fitting, priced
from order_service.domain.orders import Line, Offer

carts = st.lists(st.integers(1, 300), max_size=MAX_LINES, unique=True).map(
    lambda products: [Line(ProductId(product), product) for product in products]
)


def offer(product: int, amount: int, currency: str = "USD") -> Offer:
    return Offer(ProductId(product), f"Product {product}", Money(amount, currency), UserId(7))


def lines(*wanted: tuple[int, int]) -> list[Line]:
    return [Line(ProductId(product), quantity) for product, quantity in wanted]


def test_a_cart_sums_what_is_for_sale_by_currency() -> None:
    offers = {ProductId(1): offer(1, 250), ProductId(2): offer(2, 100, "EUR")}

    cart = Cart(priced(lines((1, 2), (2, 1), (3, 9)), offers, {ProductId(1): 2, ProductId(2): 0}))

    assert cart.totals == (Money(100, "EUR"), Money(500, "USD"))
    assert [line.available for line in cart.lines] == [True, False, False]
    assert (cart.lines[2].name, cart.lines[2].unit_price, cart.lines[2].total) == (None, None, None)


def test_a_cart_whose_stock_nobody_knows_says_so_but_of_what_is_not_for_sale() -> None:
    shown = priced(lines((1, 2), (3, 9)), {ProductId(1): offer(1, 250)}, None)

    assert [line.available for line in shown] == [None, False]


def test_a_sum_beyond_all_money_is_left_out() -> None:
    offers = {ProductId(1): offer(1, MAX_AMOUNT), ProductId(2): offer(2, 1, "EUR")}

    cart = Cart(priced(lines((1, 2), (2, 1)), offers, {}))

    assert (cart.lines[0].total, cart.totals) == (None, (Money(1, "EUR"),))


@given(carts, carts)
def test_a_merged_cart_keeps_all_that_was_there_and_never_overflows(held: list[Line], coming: list[Line]) -> None:
    fits = fitting(held, coming)

    known, added = {line.product_id for line in held}, [line.product_id for line in fits]
    assert len(known | set(added)) <= MAX_LINES
    assert set(fits) <= set(coming)
    assert known & {line.product_id for line in coming} <= set(added)
    assert len(known) + len(set(added) - known) == min(MAX_LINES, len(known | {line.product_id for line in coming}))


def test_a_cart_covers_what_it_holds_and_nothing_more() -> None:
    held = lines((1, 2), (2, 1))

    assert covers(held, lines((1, 2)))
    assert covers(held, lines((1, 1), (2, 1)))
    assert not covers(held, lines((1, 3)))
    assert not covers(held, lines((3, 1)))
