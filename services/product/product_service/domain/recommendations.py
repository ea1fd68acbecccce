"""Product recommendations. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from product_service.domain.products import ListedProduct


class Reason(StrEnum):
    """Why a product is recommended, the strongest reason first."""

    BOUGHT_TOGETHER = "bought_together"
    POPULAR_IN_CATEGORY = "popular_in_category"
    POPULAR = "popular"


@dataclass(frozen=True, slots=True)
class Recommendation:
    listed: ListedProduct
    reason: Reason
