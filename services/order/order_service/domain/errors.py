"""What can go wrong with orders, carts and addresses."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis.types.ids import OrderId, ProductId, UserId
from chassis.types.money import Money


class OrderError(Exception):
    """The root of this service's errors."""


class UnknownProducts(OrderError):
    """The catalogue does not sell everything that is wanted."""

    def __init__(self, product_ids: Sequence[ProductId]) -> None:
        super().__init__(f"there is no product {', '.join(map(str, product_ids))}: order without it")
        self.product_ids = tuple(product_ids)


class MixedCurrencies(OrderError):
    """The products are priced in more than one currency, so that there is no total."""

    def __init__(self, currencies: Sequence[str]) -> None:
        super().__init__(f"these products are priced in {' and '.join(currencies)}: place an order for each currency")
        self.currencies = tuple(currencies)


class TotalTooLarge(OrderError):
    """The total is more than an amount of money can be."""

    def __init__(self) -> None:
        super().__init__("the total is larger than any order may be: order fewer, or in several orders")


@dataclass(frozen=True, slots=True)
class Shortage:
    """A product of which less is available than wanted."""

    product_id: ProductId
    wanted: int
    available: int


class OutOfStock(OrderError):
    """Not every line could be reserved, so none was."""

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        products = ", ".join(f"product {s.product_id} ({s.available} left, {s.wanted} wanted)" for s in shortages)
        super().__init__(f"too little stock of {products}: order fewer")
        self.shortages = tuple(shortages)


class UnknownOrder(OrderError):
    """There is no such order, or it is somebody else's: who asks must not learn which."""

    def __init__(self, order_id: OrderId | str) -> None:
        super().__init__(f"you have no order {order_id}")


class IllegalTransition(OrderError):
    """The order cannot go from where it is to where it is wanted."""

    def __init__(self, order_id: OrderId, status: str, wanted: str, following: Sequence[str]) -> None:
        way = f"from there it goes to {' or '.join(following)}" if following else "that is where it ends"
        super().__init__(f"order {order_id} is {status} and cannot become {wanted}: {way}")


class NotCancellable(IllegalTransition):
    """The order is on its way."""

    def __init__(self, order_id: OrderId, status: str) -> None:
        OrderError.__init__(self, f"order {order_id} is {status}: only a pending or confirmed one can be cancelled")


class AlreadyShipped(IllegalTransition):
    """The order has left the house, with another parcel than this one."""

    def __init__(self, order_id: OrderId) -> None:
        OrderError.__init__(self, f"order {order_id} is shipped already, by another carrier or tracking number")


class NotItsPrice(OrderError):
    """A payment came in for another amount than the order costs."""

    def __init__(self, order_id: OrderId, paid: Money, total: Money) -> None:
        super().__init__(
            f"order {order_id} costs {total.amount} {total.currency}, and {paid.amount} {paid.currency} were paid"
        )


class CartEmpty(OrderError):
    """An order without items is placed from the cart, and there is nothing in it."""

    def __init__(self) -> None:
        super().__init__("your cart is empty: put something in it, or send items")


class CartFull(OrderError):
    """A cart holds only so many products."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a cart holds {limit} products at most: order some, or take some out")


class CartChanged(OrderError):
    """Something that was being ordered has left the cart meanwhile."""

    def __init__(self) -> None:
        super().__init__("your cart changed while it was being ordered: look at it, and order again")


class UnknownAddress(OrderError):
    """There is no such address, or it is somebody else's."""

    def __init__(self, address_id: UUID) -> None:
        super().__init__(f"you have no address {address_id}")


class NoSuchAddressToShipTo(UnknownAddress):
    """The same, said of a member of an order."""


class AddressBookFull(OrderError):
    """A buyer keeps only so many addresses."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"an address book holds {limit} addresses at most: delete one first")


class AccountErased(OrderError):
    """The account is gone, and nothing is kept for it any more; its last access token may live some minutes longer."""

    def __init__(self, user_id: UserId) -> None:
        super().__init__(f"account {user_id} was erased: register again to order")


class BadRange(OrderError):
    """Figures are asked for a time that makes no sense, or for too long a one."""
