"""What can go wrong with orders."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.kernel.ids import OrderId, ProductId


class OrderError(Exception):
    """The root of this service's errors."""


class UnknownProducts(OrderError):  # noqa: N818 - named for what happened
    """The catalogue does not sell everything that is wanted."""

    def __init__(self, product_ids: Sequence[ProductId]) -> None:
        super().__init__(f"there is no product {', '.join(map(str, product_ids))}: order without it")
        self.product_ids = tuple(product_ids)


class MixedCurrencies(OrderError):  # noqa: N818 - named for what happened
    """The products are priced in more than one currency, so that there is no total."""

    def __init__(self, currencies: Sequence[str]) -> None:
        super().__init__(f"these products are priced in {' and '.join(currencies)}: place an order for each currency")
        self.currencies = tuple(currencies)


class TotalTooLarge(OrderError):  # noqa: N818 - named for what happened
    """The total is more than an amount of money can be."""

    def __init__(self) -> None:
        super().__init__("the total is larger than any order may be: order fewer, or in several orders")


@dataclass(frozen=True, slots=True)
class Shortage:
    """A product of which less is available than wanted."""

    product_id: ProductId
    wanted: int
    available: int


class OutOfStock(OrderError):  # noqa: N818 - named for what happened
    """Not every line could be reserved, so none was."""

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        products = ", ".join(f"product {s.product_id} ({s.available} left, {s.wanted} wanted)" for s in shortages)
        super().__init__(f"too little stock of {products}: order fewer")
        self.shortages = tuple(shortages)


class UnknownOrder(OrderError):  # noqa: N818 - named for what happened
    """There is no such order, or it is somebody else's: who asks must not learn which."""

    def __init__(self, order_id: OrderId) -> None:
        super().__init__(f"you have no order {order_id}")


class NotCancellable(OrderError):  # noqa: N818 - named for what happened
    """The order is on its way."""

    def __init__(self, order_id: OrderId, status: str) -> None:
        super().__init__(f"order {order_id} is {status}: only a pending or confirmed one can be cancelled")


class KeyReused(OrderError):  # noqa: N818 - named for what happened
    """An idempotency key came again with something else to order."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used for another order: send a new key, or the first body again")
