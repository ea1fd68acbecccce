"""The domain errors of the product service."""

from collections.abc import Collection

from chassis.types.ids import ProductId

from product_service.domain.categories import MAX_DEPTH, CategoryId
from product_service.domain.products import MAX_VARIANTS
from product_service.domain.search import MAX_COUNTED


class ProductServiceError(Exception):
    """The base class of this service's errors."""


class UnknownProduct(ProductServiceError):
    """The product does not exist or was deleted."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"there is no product {product_id}")


class CurrencyNotOffered(ProductServiceError):
    """The shop does not sell in the currency of a price."""

    def __init__(self, currency: str, offered: Collection[str]) -> None:
        super().__init__(f"price: the shop does not sell in {currency}; it sells in {', '.join(sorted(offered))}")
        self.offered = sorted(offered)


class NotTheSeller(ProductServiceError):
    """The caller is neither the seller of the product nor an admin."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"product {product_id} belongs to another seller")


class UnknownCategory(ProductServiceError):
    """The category does not exist."""

    def __init__(self, category_id: CategoryId) -> None:
        super().__init__(f"there is no category {category_id}")


class UnknownCategoryOfProduct(ProductServiceError):
    """The category that a product was to be put into does not exist."""

    def __init__(self, category_id: CategoryId) -> None:
        super().__init__(f"category_id: there is no category {category_id}; choose one of GET /categories")


class CategoryExists(ProductServiceError):
    """A sibling has the same name. Names of siblings are unique regardless of case."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a category {name!r} already: choose another name")


class CategoryInUse(ProductServiceError):
    """The category cannot be deleted because it has products or subcategories."""

    def __init__(self, category_id: CategoryId) -> None:
        super().__init__(f"category {category_id} has products or subcategories: move or delete them first")


class UnknownParent(ProductServiceError):
    """The parent that a category was to be put under does not exist."""

    def __init__(self, parent_id: CategoryId) -> None:
        super().__init__(f"parent_id: there is no category {parent_id}; choose one of GET /categories, or null")


class CategoryCycle(ProductServiceError):
    """The category was to be moved below itself."""

    def __init__(self, category_id: CategoryId, parent_id: CategoryId) -> None:
        super().__init__(
            f"category {parent_id} is category {category_id} or a descendant of it: choose a parent elsewhere"
        )


class CategoryTooDeep(ProductServiceError):
    """The tree of categories would have more than MAX_DEPTH levels."""

    def __init__(self, parent_id: CategoryId) -> None:
        super().__init__(
            f"below category {parent_id} the tree would have more than {MAX_DEPTH} levels: choose a parent higher up"
        )


class UnknownGroup(ProductServiceError):
    """The group that a product was to join does not exist or belongs to another seller."""

    def __init__(self, group_id: ProductId) -> None:
        super().__init__(
            f"group_id: product {group_id} heads no group of this seller; give the group_id of a variant, or the id "
            "of a product that is in no group"
        )


class VariantExists(ProductServiceError):
    """Another variant of the group has the same options."""

    def __init__(self, group_id: ProductId) -> None:
        super().__init__(f"options: group {group_id} has a variant with these options already: give different options")


class TooManyVariants(ProductServiceError):
    """The group of variants is full."""

    def __init__(self, group_id: ProductId) -> None:
        super().__init__(f"group {group_id} has {MAX_VARIANTS} variants, the maximum: start another group")


class PageTooDeep(ProductServiceError):
    """The page number lies beyond the part of a list that can be paged by number."""

    def __init__(self) -> None:
        super().__init__(
            f"pages have numbers up to product {MAX_COUNTED}: follow `next` from there, or narrow the list"
        )


class CurrencyRequired(ProductServiceError):
    """A list that compares prices names no currency, and the shop has products in several."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(
            f"currency: prices in {one} and {other} cannot be compared; give the currency of the products to list"
        )


class BadCursor(ProductServiceError):
    """The cursor is malformed, or belongs to a list with another sort order."""

    def __init__(self) -> None:
        super().__init__("cursor: send `next` of a response unchanged, with the same sort, or leave it out")
