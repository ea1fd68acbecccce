"""Which problem each error of this service becomes, over HTTP and gRPC alike."""

from collections.abc import Mapping

from chassis.types.problem import Problem, ProblemTable

from order_service.domain.errors import (
    AccountErased,
    AddressBookFull,
    CartChanged,
    CartEmpty,
    CartFull,
    IllegalTransition,
    InvalidTimeRange,
    MixedCurrencies,
    NotCancellable,
    OutOfStock,
    QuantityLimit,
    TooManyOpenOrders,
    TotalTooLarge,
    UnknownAddress,
    UnknownOrder,
    UnknownProducts,
    UnknownShippingAddress,
)


def _shortages(error: OutOfStock) -> Mapping[str, object]:
    return {
        "products": [
            {"product_id": s.product_id, "wanted": s.requested, "available": s.available, "is_exact": s.is_exact}
            for s in error.shortages
        ]
    }


def _excesses(error: QuantityLimit) -> Mapping[str, object]:
    return {
        "products": [{"product_id": e.product_id, "wanted": e.requested, "maximum": e.maximum} for e in error.excesses]
    }


def _products(error: UnknownProducts) -> Mapping[str, object]:
    return {"product_ids": list(error.product_ids)}


def _currencies(error: MixedCurrencies) -> Mapping[str, object]:
    return {"currencies": list(error.currencies)}


PROBLEMS: ProblemTable = {
    AccountErased: Problem(403, "account_erased"),
    UnknownAddress: Problem(404, "unknown_address"),
    UnknownOrder: Problem(404, "unknown_order"),
    AddressBookFull: Problem(409, "address_book_full"),
    CartChanged: Problem(409, "cart_changed"),
    CartFull: Problem(409, "cart_full"),
    IllegalTransition: Problem(409, "illegal_transition"),
    NotCancellable: Problem(409, "not_cancellable"),
    OutOfStock: Problem(409, "out_of_stock", members=_shortages),
    QuantityLimit: Problem(409, "quantity_limit", members=_excesses),
    TooManyOpenOrders: Problem(409, "too_many_open_orders"),
    InvalidTimeRange: Problem(422, "bad_range"),
    CartEmpty: Problem(422, "cart_empty"),
    MixedCurrencies: Problem(422, "mixed_currencies", members=_currencies),
    UnknownShippingAddress: Problem(422, "unknown_address"),
    TotalTooLarge: Problem(422, "total_too_large"),
    UnknownProducts: Problem(422, "unknown_product", members=_products),
}
