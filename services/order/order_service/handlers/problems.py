"""Which problem each error of this service becomes, over HTTP and gRPC alike."""

from collections.abc import Mapping

from chassis.types.problem import Problem, ProblemTable

from order_service.domain.errors import (
    AccountErased,
    AddressBookFull,
    AddressRequired,
    AlreadyPaid,
    CartChanged,
    CartEmpty,
    CartFull,
    IllegalTransition,
    InvalidTimeRange,
    MixedCurrencies,
    NotCancellable,
    NotShipped,
    OrderRefunded,
    OutOfStock,
    PlacementTooSlow,
    QuantityLimit,
    TooManyOpenOrders,
    TotalChanged,
    TotalNotChargeable,
    TotalTooLarge,
    TotalTooSmall,
    UnknownAddress,
    UnknownCountry,
    UnknownOrder,
    UnknownProducts,
    UnknownShippingAddress,
)


def _shortages(error: OutOfStock) -> Mapping[str, object]:
    return {
        "products": [
            {"product_id": s.product_id, "requested": s.requested, "available": s.available, "is_exact": s.is_exact}
            for s in error.shortages
        ]
    }


def _excesses(error: QuantityLimit) -> Mapping[str, object]:
    return {
        "products": [
            {"product_id": e.product_id, "requested": e.requested, "maximum": e.maximum} for e in error.excesses
        ]
    }


def _products(error: UnknownProducts) -> Mapping[str, object]:
    return {"product_ids": list(error.product_ids)}


def _currencies(error: MixedCurrencies) -> Mapping[str, object]:
    return {"currencies": list(error.currencies)}


def _minimum(error: TotalTooSmall) -> Mapping[str, object]:
    return {"minimum": {"amount": error.minimum.amount, "currency": error.minimum.currency}}


def _total(error: TotalChanged) -> Mapping[str, object]:
    return {"total": {"amount": error.total.amount, "currency": error.total.currency}}


PROBLEMS: ProblemTable = {
    AccountErased: Problem(403, "account_erased"),
    UnknownAddress: Problem(404, "unknown_address"),
    UnknownOrder: Problem(404, "unknown_order"),
    AddressBookFull: Problem(409, "address_book_full"),
    AlreadyPaid: Problem(409, "already_paid"),
    CartChanged: Problem(409, "cart_changed"),
    CartFull: Problem(409, "cart_full"),
    IllegalTransition: Problem(409, "illegal_transition"),
    NotCancellable: Problem(409, "not_cancellable"),
    NotShipped: Problem(409, "not_shipped"),
    OrderRefunded: Problem(409, "order_refunded"),
    OutOfStock: Problem(409, "out_of_stock", members=_shortages),
    TotalChanged: Problem(409, "total_changed", members=_total),
    QuantityLimit: Problem(409, "quantity_limit", members=_excesses),
    TooManyOpenOrders: Problem(409, "too_many_open_orders"),
    InvalidTimeRange: Problem(422, "bad_range"),
    AddressRequired: Problem(422, "address_required"),
    CartEmpty: Problem(422, "cart_empty"),
    MixedCurrencies: Problem(422, "mixed_currencies", members=_currencies),
    UnknownShippingAddress: Problem(422, "unknown_address"),
    TotalNotChargeable: Problem(422, "total_not_chargeable"),
    UnknownCountry: Problem(422, "unknown_country"),
    TotalTooLarge: Problem(422, "total_too_large"),
    TotalTooSmall: Problem(422, "total_too_small", members=_minimum),
    UnknownProducts: Problem(422, "unknown_product", members=_products),
    PlacementTooSlow: Problem(503, "placement_too_slow", {"Retry-After": "1"}),
}
