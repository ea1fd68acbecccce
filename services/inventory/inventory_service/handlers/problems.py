"""The problems that this service's errors become, over HTTP and gRPC alike."""

from collections.abc import Mapping

from chassis.types.problem import Problem, ProblemTable

from inventory_service.domain.errors import (
    BelowReserved,
    NotTheSeller,
    OutOfStock,
    OverMaximum,
    StockChanged,
    TooMuchStock,
    UnknownProduct,
)


def _shortages(error: OutOfStock) -> Mapping[str, object]:
    return {
        "products": [
            {"product_id": s.product_id, "requested": s.requested, "available": s.available, "is_exact": s.is_exact}
            for s in error.shortages
        ]
    }


def _excesses(error: OverMaximum) -> Mapping[str, object]:
    return {
        "products": [
            {"product_id": e.product_id, "requested": e.requested, "maximum": e.maximum} for e in error.excesses
        ]
    }


PROBLEMS: ProblemTable = {
    OutOfStock: Problem(409, "out_of_stock", members=_shortages),
    OverMaximum: Problem(409, "quantity_limit", members=_excesses),
    BelowReserved: Problem(409, "below_reserved"),
    StockChanged: Problem(412, "stock_changed"),
    TooMuchStock: Problem(409, "too_much_stock"),
    NotTheSeller: Problem(403, "not_the_seller"),
    UnknownProduct: Problem(404, "unknown_product"),
}
