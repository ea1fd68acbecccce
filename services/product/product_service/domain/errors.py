"""What can go wrong in the catalogue."""

from chassis.kernel.ids import ProductId

from product_service.domain.categories import CategoryId


class CatalogueError(Exception):
    """The root of this service's errors."""


class UnknownProduct(CatalogueError):  # noqa: N818 - named for what happened
    """No such product, or one that is sold no more."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"there is no product {product_id}")


class NotTheSeller(CatalogueError):  # noqa: N818 - named for what happened
    """A product is changed by who sells it, or by an admin."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"product {product_id} is sold by somebody else")


class UnknownCategory(CatalogueError):  # noqa: N818 - named for what happened
    """No such category."""

    def __init__(self, category_id: CategoryId) -> None:
        super().__init__(f"there is no category {category_id}")


class UnknownCategoryOfProduct(CatalogueError):  # noqa: N818 - named for what happened
    """A product was to be put where there is nothing."""

    def __init__(self, category_id: CategoryId) -> None:
        super().__init__(f"category_id: there is no category {category_id}; choose one of GET /categories")


class CategoryExists(CatalogueError):  # noqa: N818 - named for what happened
    """Names of categories are unique, whatever their case."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a category {name!r} already: choose another name")


class CategoryInUse(CatalogueError):  # noqa: N818 - named for what happened
    """Products are sold in the category."""

    def __init__(self, category_id: CategoryId) -> None:
        super().__init__(f"category {category_id} has products: move or delete them first")
