"""What can go wrong with reviews."""

from chassis.types.ids import ProductId

from review_service.domain.reviews import ReviewId


class ReviewError(Exception):
    """The root of this service's errors."""


class UnknownProduct(ReviewError):
    """The catalogue has no such product."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"there is no product {product_id}")


class UnknownReview(ReviewError):
    """No such review."""

    def __init__(self, review_id: ReviewId) -> None:
        super().__init__(f"there is no review {review_id}")


class NotABuyer(ReviewError):
    """Only who has ordered a product may review it."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"you have not ordered product {product_id}: only its buyers may review it")


class OwnProduct(ReviewError):
    """Nobody reviews what they sell."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"you sell product {product_id}: leave its reviews to others")


class AlreadyReviewed(ReviewError):
    """One review of a product each."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"you have reviewed product {product_id} already: change that review at PUT /reviews/{{id}}")


class NotTheAuthor(ReviewError):
    """A review is changed by who wrote it."""

    def __init__(self, review_id: ReviewId) -> None:
        super().__init__(f"review {review_id} is somebody else's")


class OwnReview(ReviewError):
    """Nobody finds their own review helpful."""

    def __init__(self, review_id: ReviewId) -> None:
        super().__init__(f"review {review_id} is your own: leave the vote to others")


class ErasedAccount(ReviewError):
    """An access token that outlives its account: nothing is written any more."""

    def __init__(self) -> None:
        super().__init__("this account was erased: log in with another one")
