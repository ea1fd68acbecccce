"""What this service's errors look like outside, over HTTP and gRPC alike."""

from chassis.problems import Problem, ProblemTable

from review_service.domain.errors import (
    AlreadyReviewed,
    NotABuyer,
    NotTheAuthor,
    OwnProduct,
    UnknownProduct,
    UnknownReview,
)

PROBLEMS: ProblemTable = {
    UnknownProduct: Problem(404, "unknown_product"),
    UnknownReview: Problem(404, "unknown_review"),
    NotABuyer: Problem(403, "not_a_buyer"),
    OwnProduct: Problem(403, "own_product"),
    AlreadyReviewed: Problem(409, "already_reviewed"),
    NotTheAuthor: Problem(403, "not_the_author"),
}
