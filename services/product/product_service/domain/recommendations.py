"""What else a shopper may like. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from product_service.domain.products import Listing


class Reason(StrEnum):
    """Why a product is recommended, the better reason first."""

    BOUGHT_TOGETHER = "bought_together"
    POPULAR_IN_CATEGORY = "popular_in_category"
    POPULAR = "popular"


@dataclass(frozen=True, slots=True)
class Recommendation:
    listing: Listing
    reason: Reason
