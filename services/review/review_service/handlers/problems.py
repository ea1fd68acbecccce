"""The problems that this service's errors become, over HTTP and gRPC alike."""

from chassis.types.problem import Problem, ProblemTable

from review_service.domain.errors import (
    AlreadyReviewed,
    ErasedAccount,
    NotABuyer,
    NotTheAuthor,
    OwnProduct,
    OwnReview,
    UnknownProduct,
    UnknownReview,
)

PROBLEMS: ProblemTable = {
    UnknownProduct: Problem(404, "unknown_product"),
    UnknownReview: Problem(404, "unknown_review"),
    NotABuyer: Problem(403, "not_a_buyer"),
    OwnProduct: Problem(403, "own_product"),
    OwnReview: Problem(403, "own_review"),
    ErasedAccount: Problem(403, "account_erased"),
    AlreadyReviewed: Problem(409, "already_reviewed"),
    NotTheAuthor: Problem(403, "not_the_author"),
}
