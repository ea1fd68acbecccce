"""The errors of reviews and votes."""

from chassis.types.ids import ProductId

from review_service.domain.reviews import ReviewId


class ReviewError(Exception):
    """The root of this service's errors."""


class UnknownProduct(ReviewError):
    """The catalogue has no such product."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"there is no product {product_id}")


class UnknownReview(ReviewError):
    """There is no such review, or its author removed it, or the caller cannot see it."""

    def __init__(self, review_id: ReviewId) -> None:
        super().__init__(f"there is no review {review_id}")


class NotABuyer(ReviewError):
    """The caller has not bought the product: only buyers may review it."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"you have not ordered product {product_id}: only its buyers may review it")


class OwnProduct(ReviewError):
    """The caller sells the product: sellers may not review what they sell."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"you sell product {product_id}: leave its reviews to others")


class AlreadyReviewed(ReviewError):
    """The caller has reviewed the product already: there is one review per product and author."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"you have reviewed product {product_id} already: change that review at PUT /reviews/{{id}}")


class NotTheAuthor(ReviewError):
    """The caller did not write the review: only its author may change it."""

    def __init__(self, review_id: ReviewId) -> None:
        super().__init__(f"review {review_id} was written by another user")


class OwnReview(ReviewError):
    """The caller wrote the review: authors may not vote for their own reviews."""

    def __init__(self, review_id: ReviewId) -> None:
        super().__init__(f"review {review_id} is your own: leave the vote to others")


class ErasedAccount(ReviewError):
    """The caller's account was erased, but the access token is still valid: such a caller may write nothing."""

    def __init__(self) -> None:
        super().__init__("this account was erased: log in with another one")
