"""The errors of orders, carts, addresses and sales reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis.types.charges import NotChargeable
from chassis.types.currencies import major_units
from chassis.types.ids import OrderId, ProductId, UserId
from chassis.types.money import Money


class OrderError(Exception):
    """The root of this service's errors."""


class UnknownProducts(OrderError):
    """Some of the requested products are not in the catalogue."""

    def __init__(self, product_ids: Sequence[ProductId]) -> None:
        super().__init__(f"there is no product {', '.join(map(str, product_ids))}: order without it")
        self.product_ids = tuple(product_ids)


class MixedCurrencies(OrderError):
    """The products are priced in more than one currency, so there is no total."""

    def __init__(self, currencies: Sequence[str]) -> None:
        super().__init__(f"these products are priced in {' and '.join(currencies)}: place an order for each currency")
        self.currencies = tuple(currencies)


class TotalTooLarge(OrderError):
    """The total is larger than Money can hold, or than the payment provider can charge."""

    def __init__(self) -> None:
        super().__init__("the total is larger than the largest possible order: order less, or in several orders")


class TotalTooSmall(OrderError):
    """The total is smaller than the payment provider's minimum, so the order could never be paid."""

    def __init__(self, total: Money, minimum: Money) -> None:
        super().__init__(
            f"the total is {_text(total)}, and the smallest possible payment is {_text(minimum)}: order more"
        )
        self.minimum = minimum


class TotalNotChargeable(OrderError):
    """The payment provider takes no payments in the currency, or cannot represent the total."""

    def __init__(self, reason: NotChargeable) -> None:
        super().__init__(f"this order could not be paid: {reason}")


class TotalChanged(OrderError):
    """The order costs another total than the buyer expects."""

    def __init__(self, expected: Money, total: Money) -> None:
        super().__init__(
            f"the order costs {total.amount} {total.currency}, not {expected.amount} {expected.currency}:"
            " show the buyer the new total, and order again with it as expected_total"
        )
        self.total = total


@dataclass(frozen=True, slots=True)
class Shortage:
    """A product of which fewer units are available than requested."""

    product_id: ProductId
    requested: int
    available: int
    is_exact: bool = True
    """False if the available units are more than inventory tells the public."""

    def __str__(self) -> str:
        at_least = "" if self.is_exact else "at least "
        return f"product {self.product_id} ({at_least}{self.available} left, {self.requested} requested)"


class OutOfStock(OrderError):
    """Not every line could be reserved, so none was."""

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        super().__init__(f"too little stock of {', '.join(map(str, shortages))}: order fewer")
        self.shortages = tuple(shortages)


class TooManyOpenOrders(OrderError):
    """The buyer has as many unpaid orders as one buyer may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"you have {limit} unpaid orders: pay or cancel one first")


@dataclass(frozen=True, slots=True)
class Excess:
    """A product of which more units are requested than allowed."""

    product_id: ProductId
    requested: int
    maximum: int


class QuantityLimit(OrderError):
    """More units of a product are requested than one order may have."""

    advice = "order fewer"

    def __init__(self, excesses: Sequence[Excess]) -> None:
        products = " and ".join(f"{e.maximum} of product {e.product_id} ({e.requested} requested)" for e in excesses)
        super().__init__(f"you can order at most {products}: {self.advice}")
        self.excesses = tuple(excesses)


class OpenQuantityLimit(QuantityLimit):
    """More units of a product are requested than the unpaid orders of one buyer may have together."""

    advice = "order fewer, or pay or cancel your unpaid orders of it first"


class UnknownOrder(OrderError):
    """There is no such order, or it is another buyer's: the caller must not learn which."""

    def __init__(self, order_id: OrderId | str) -> None:
        super().__init__(f"you have no order {order_id}")


class IllegalTransition(OrderError):
    """The state machine does not allow the requested status after the order's current one."""

    def __init__(self, order_id: OrderId, status: str, requested: str, next_statuses: Sequence[str]) -> None:
        allowed = f"it can become {' or '.join(next_statuses)}" if next_statuses else "this status is final"
        super().__init__(f"order {order_id} is {status} and cannot become {requested}: {allowed}")


class NotCancellable(IllegalTransition):
    """The order has been shipped; or it is being processed, and its buyer wants to cancel it."""

    def __init__(self, order_id: OrderId, status: str) -> None:
        OrderError.__init__(
            self,
            f"order {order_id} is {status}: its buyer can cancel it until it is being processed, an admin until it is"
            " shipped",
        )


class OrderRefunded(OrderError):
    """All that was paid for the order was refunded, so it must not be processed or shipped."""

    def __init__(self, order_id: OrderId) -> None:
        super().__init__(
            f"all that was paid for order {order_id} was refunded: cancel the order, or record that it was paid again"
        )


class AlreadyShipped(IllegalTransition):
    """The order was shipped with another carrier or tracking number."""

    def __init__(self, order_id: OrderId) -> None:
        OrderError.__init__(
            self,
            f"order {order_id} is shipped already, with another carrier or tracking number: correct them with"
            f" PUT /orders/{order_id}/shipment",
        )


class NotShipped(OrderError):
    """The order is not on its way, so it has no shipment to correct."""

    def __init__(self, order_id: OrderId, status: str) -> None:
        super().__init__(f"order {order_id} is {status}: only the shipment of a shipped order can be corrected")


class AlreadyPaid(OrderError):
    """The order is paid, so another payment of it must not be recorded."""

    def __init__(self, order_id: OrderId) -> None:
        super().__init__(f"order {order_id} is paid already: refund that payment before you record another one")


class WrongAmountPaid(OrderError):
    """A payment was captured for another amount than the order costs."""

    def __init__(self, order_id: OrderId, paid: Money, total: Money) -> None:
        super().__init__(
            f"order {order_id} costs {total.amount} {total.currency}, but {paid.amount} {paid.currency} were paid"
        )


class CartEmpty(OrderError):
    """An order without items is placed from the cart, and the cart is empty."""

    def __init__(self) -> None:
        super().__init__("your cart is empty: add a product to it, or send items")


class CartFull(OrderError):
    """The cart holds the largest allowed number of products already."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a cart holds at most {limit} products: order or remove some first")


class CartChanged(OrderError):
    """A product was removed from the cart while the cart was being ordered."""

    def __init__(self) -> None:
        super().__init__("your cart changed while it was being ordered: check it, and order again")


class PlacementTooSlow(OrderError):
    """The reservation ended before the order could be stored, in every attempt."""

    def __init__(self) -> None:
        super().__init__("the shop was too slow to keep your products reserved, and has ordered nothing: try again")


class UnknownAddress(OrderError):
    """There is no such address, or it is another buyer's."""

    def __init__(self, address_id: UUID) -> None:
        super().__init__(f"you have no address {address_id}")


class UnknownShippingAddress(UnknownAddress):
    """The address that an order request refers to does not exist, or is another buyer's."""


class UnknownCountry(OrderError):
    """The country of a saved address is not in ISO 3166-1."""


class AddressRequired(OrderError):
    """The shop taxes orders by the country that they are shipped to, and the order has no address."""

    def __init__(self) -> None:
        super().__init__("the tax depends on the country: send shipping_address or address_id")


class AddressBookFull(OrderError):
    """The address book holds the largest allowed number of addresses already."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"an address book holds at most {limit} addresses: delete one first")


class AccountErased(OrderError):
    """The account was erased, and nothing is stored for it any more.

    Its last access token may stay valid for some minutes.
    """

    def __init__(self, user_id: UserId) -> None:
        super().__init__(f"account {user_id} was erased: register again to order")


class InvalidTimeRange(OrderError):
    """A sales report is requested for a time range that is empty or too long."""


def _text(amount: Money) -> str:
    return f"{major_units(amount.amount, amount.currency)} {amount.currency}"
