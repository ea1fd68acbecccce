"""The HTTP routes of categories."""

from chassis.http.authentication import Authenticator, Role
from chassis.http.schemas import Data, PageOf, PageQuery, PathId
from fastapi import APIRouter, Depends

from product_service.domain.categories import UNSET, CategoryId
from product_service.handlers.schemas import CategoryRequest, CategoryResponse, CategoryTreeResponse
from product_service.service.categories import CategoryService


def routes(categories: CategoryService, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/categories", tags=["categories"])
    admin = Depends(auth.role(Role.ADMIN))

    @router.get("", summary="List categories as trees, sorted by name")
    async def list_categories(paging: PageQuery) -> PageOf[CategoryTreeResponse]:
        """Returns a page of root categories, each with all its descendants; `total` counts the roots."""
        page, total = await categories.list_trees(paging.offset, paging.limit)
        data = [CategoryTreeResponse.model_validate(tree) for tree in page]
        return PageOf(data=data, page=paging.page, limit=paging.limit, total=total)

    @router.post("", status_code=201, summary="Add a category", dependencies=[admin])
    async def add_category(request: CategoryRequest) -> Data[CategoryResponse]:
        parent_id = None if request.parent is UNSET else request.parent
        return Data(data=CategoryResponse.model_validate(await categories.add(request.name, parent_id)))

    @router.put("/{category_id}", summary="Rename or move a category", dependencies=[admin])
    async def revise_category(category_id: PathId, request: CategoryRequest) -> Data[CategoryResponse]:
        revised = await categories.revise(CategoryId(category_id), request.name, request.parent)
        return Data(data=CategoryResponse.model_validate(revised))

    @router.delete("/{category_id}", status_code=204, summary="Delete an empty category", dependencies=[admin])
    async def remove_category(category_id: PathId) -> None:
        await categories.delete(CategoryId(category_id))

    return router
