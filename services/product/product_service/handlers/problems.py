"""What this service's errors look like outside, over HTTP and gRPC alike."""

from chassis.problems import Problem, ProblemTable

from product_service.domain.errors import (
    CategoryExists,
    CategoryInUse,
    NotTheSeller,
    UnknownCategory,
    UnknownCategoryOfProduct,
    UnknownProduct,
)

PROBLEMS: ProblemTable = {
    UnknownProduct: Problem(404, "unknown_product"),
    NotTheSeller: Problem(403, "not_the_seller"),
    UnknownCategory: Problem(404, "unknown_category"),
    UnknownCategoryOfProduct: Problem(422, "unknown_category"),
    CategoryExists: Problem(409, "category_exists"),
    CategoryInUse: Problem(409, "category_in_use"),
}
