"""The problems that HTTP and gRPC clients see for the domain errors."""

from chassis.types.problem import Problem, ProblemTable

from product_service.domain.errors import (
    BadCursor,
    CategoryCycle,
    CategoryExists,
    CategoryInUse,
    CategoryTooDeep,
    CurrencyNotOffered,
    CurrencyRequired,
    NotTheSeller,
    PageTooDeep,
    TooManyVariants,
    UnknownCategory,
    UnknownCategoryOfProduct,
    UnknownGroup,
    UnknownParent,
    UnknownProduct,
    VariantExists,
)

PROBLEMS: ProblemTable = {
    UnknownProduct: Problem(404, "unknown_product"),
    CurrencyNotOffered: Problem(422, "currency_not_offered", members=lambda error: {"currencies": list(error.offered)}),
    NotTheSeller: Problem(403, "not_the_seller"),
    UnknownCategory: Problem(404, "unknown_category"),
    UnknownCategoryOfProduct: Problem(422, "unknown_category"),
    CategoryExists: Problem(409, "category_exists"),
    CategoryInUse: Problem(409, "category_in_use"),
    UnknownParent: Problem(422, "unknown_category"),
    CategoryCycle: Problem(409, "category_cycle"),
    CategoryTooDeep: Problem(409, "category_too_deep"),
    UnknownGroup: Problem(422, "unknown_group"),
    VariantExists: Problem(409, "variant_exists"),
    TooManyVariants: Problem(409, "too_many_variants"),
    PageTooDeep: Problem(404, "page_too_deep"),
    CurrencyRequired: Problem(422, "currency_required"),
    BadCursor: Problem(
        422, "invalid_field", members=lambda error: {"errors": [{"field": "cursor", "message": str(error)}]}
    ),
}
