"""What this service's errors look like outside, over HTTP and gRPC alike."""

from collections.abc import Mapping

from chassis.problems import Problem, ProblemTable

from order_service.domain.errors import (
    KeyReused,
    MixedCurrencies,
    NotCancellable,
    OutOfStock,
    TotalTooLarge,
    UnknownOrder,
    UnknownProducts,
)


def _shortages(error: OutOfStock) -> Mapping[str, object]:
    return {
        "products": [
            {"product_id": s.product_id, "wanted": s.wanted, "available": s.available} for s in error.shortages
        ]
    }


def _products(error: UnknownProducts) -> Mapping[str, object]:
    return {"product_ids": list(error.product_ids)}


def _currencies(error: MixedCurrencies) -> Mapping[str, object]:
    return {"currencies": list(error.currencies)}


PROBLEMS: ProblemTable = {
    UnknownOrder: Problem(404, "unknown_order"),
    OutOfStock: Problem(409, "out_of_stock", members=_shortages),
    NotCancellable: Problem(409, "not_cancellable"),
    UnknownProducts: Problem(422, "unknown_product", members=_products),
    MixedCurrencies: Problem(422, "mixed_currencies", members=_currencies),
    TotalTooLarge: Problem(422, "total_too_large"),
    KeyReused: Problem(422, "idempotency_key_reused"),
}
