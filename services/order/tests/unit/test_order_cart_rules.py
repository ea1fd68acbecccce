"""What a cart shows, and which lines of a guest's cart are merged into a buyer's."""

from chassis.types.ids import ProductId, UserId
from chassis.types.money import MAX_AMOUNT, Money
from hypothesis import given
from hypothesis import strategies as st
from order_service.domain.carts import MAX_LINES, Cart, price_lines, select_lines_to_merge
from order_service.domain.items import Line, Offer

carts = st.lists(st.integers(1, 300), max_size=MAX_LINES, unique=True).map(
    lambda products: [Line(ProductId(product), product) for product in products]
)


def offer(product: int, amount: int, currency: str = "USD") -> Offer:
    return Offer(ProductId(product), f"Product {product}", Money(amount, currency), UserId(7))


def lines(*quantities: tuple[int, int]) -> list[Line]:
    return [Line(ProductId(product), quantity) for product, quantity in quantities]


def test_a_cart_has_a_total_per_currency_of_what_is_for_sale() -> None:
    offers = {ProductId(1): offer(1, 250), ProductId(2): offer(2, 100, "EUR")}

    cart = Cart(price_lines(lines((1, 2), (2, 1), (3, 9)), offers, {ProductId(1): 2, ProductId(2): 0}))

    assert cart.totals == (Money(100, "EUR"), Money(500, "USD"))
    assert [line.available for line in cart.lines] == [True, False, False]
    assert (cart.lines[2].name, cart.lines[2].unit_price, cart.lines[2].total) == (None, None, None)


def test_availability_is_unknown_without_stock_except_for_products_not_for_sale() -> None:
    shown = price_lines(lines((1, 2), (3, 9)), {ProductId(1): offer(1, 250)}, None)

    assert [line.available for line in shown] == [None, False]


def test_too_large_a_total_is_left_out() -> None:
    offers = {ProductId(1): offer(1, MAX_AMOUNT), ProductId(2): offer(2, 1, "EUR")}

    cart = Cart(price_lines(lines((1, 2), (2, 1)), offers, {}))

    assert (cart.lines[0].total, cart.totals) == (None, (Money(1, "EUR"),))


@given(carts, carts)
def test_a_merged_cart_keeps_its_lines_and_never_exceeds_the_limit(held: list[Line], guests: list[Line]) -> None:
    merged = select_lines_to_merge(held, guests)

    known, added = {line.product_id for line in held}, [line.product_id for line in merged]
    assert len(known | set(added)) <= MAX_LINES
    assert set(merged) <= set(guests)
    assert known & {line.product_id for line in guests} <= set(added)
    assert len(known) + len(set(added) - known) == min(MAX_LINES, len(known | {line.product_id for line in guests}))
