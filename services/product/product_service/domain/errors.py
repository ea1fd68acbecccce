"""What can go wrong in the catalogue."""

from chassis.types.ids import ProductId

from product_service.domain.categories import MAX_DEPTH, CategoryId
from product_service.domain.lists import COUNTED
from product_service.domain.products import MAX_VARIANTS


class CatalogueError(Exception):
    """The root of this service's errors."""


class UnknownProduct(CatalogueError):
    """No such product, or one that is sold no more."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"there is no product {product_id}")


class NotTheSeller(CatalogueError):
    """A product is changed by who sells it, or by an admin."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"product {product_id} is sold by somebody else")


class UnknownCategory(CatalogueError):
    """No such category."""

    def __init__(self, category_id: CategoryId) -> None:
        super().__init__(f"there is no category {category_id}")


class UnknownCategoryOfProduct(CatalogueError):
    """A product was to be put where there is nothing."""

    def __init__(self, category_id: CategoryId) -> None:
        super().__init__(f"category_id: there is no category {category_id}; choose one of GET /categories")


class CategoryExists(CatalogueError):
    """Names of categories are unique, whatever their case."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a category {name!r} already: choose another name")


class CategoryInUse(CatalogueError):
    """Products are sold in the category, or it has others below it."""

    def __init__(self, category_id: CategoryId) -> None:
        super().__init__(f"category {category_id} has products or categories below it: move or delete them first")


class UnknownParent(CatalogueError):
    """A category was to be put below nothing."""

    def __init__(self, parent_id: CategoryId) -> None:
        super().__init__(f"parent_id: there is no category {parent_id}; choose one of GET /categories, or null")


class CategoryCycle(CatalogueError):
    """A category was to be put below itself."""

    def __init__(self, category_id: CategoryId, parent_id: CategoryId) -> None:
        super().__init__(
            f"category {parent_id} is category {category_id} or below it: choose a parent elsewhere in the tree"
        )


class CategoryTooDeep(CatalogueError):
    """The tree of categories would get more levels than it may have."""

    def __init__(self, parent_id: CategoryId) -> None:
        super().__init__(
            f"below category {parent_id} the tree would have more than {MAX_DEPTH} levels: put it higher up"
        )


class UnknownGroup(CatalogueError):
    """A product was to be a variant of nothing, or of what somebody else sells."""

    def __init__(self, group_id: ProductId) -> None:
        super().__init__(
            f"group_id: product {group_id} heads no group of this seller's; give the group_id of a variant, or the id of a "
            "product that is in no group"
        )


class VariantExists(CatalogueError):
    """Variants differ in their options."""

    def __init__(self, group_id: ProductId) -> None:
        super().__init__(
            f"options: group {group_id} has a variant with these options already: say what sets this one apart"
        )


class TooManyVariants(CatalogueError):
    """A group of variants is full."""

    def __init__(self, group_id: ProductId) -> None:
        super().__init__(f"group {group_id} has {MAX_VARIANTS} variants, as many as it may: begin another group")


class PageTooDeep(CatalogueError):
    """Pages are found by number near the beginning of a list only."""

    def __init__(self) -> None:
        super().__init__(f"pages have numbers up to product {COUNTED}: follow `next` from there, or narrow the list")


class BadCursor(CatalogueError):
    """A place in a list that no list of this order has."""

    def __init__(self) -> None:
        super().__init__("cursor: send `next` of an answer as it came, with the same sort, or leave it out")
