"""Samples over HTTP. Callers see and change only their own."""

from typing import Annotated
from uuid import UUID

from chassis.http.authentication import Authenticator, Principal
from chassis.http.schemas import Data, PageOf, PageQuery
from fastapi import APIRouter, Depends

from sample_service.domain.samples import SampleId
from sample_service.handlers.schemas import SampleRequest, SampleResponse
from sample_service.service.samples import SampleService


def routes(service: SampleService, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/samples", tags=["samples"])
    caller = Depends(auth.required)

    @router.get("", summary="List the caller's samples", description="The newest come first.")
    async def list_samples(paging: PageQuery, principal: Annotated[Principal, caller]) -> PageOf[SampleResponse]:
        page, total = await service.list_page(principal.user_id, paging)
        data = [SampleResponse.model_validate(sample) for sample in page]
        return PageOf(data=data, page=paging.page, limit=paging.limit, total=total)

    @router.post("", status_code=201, summary="Open a sample")
    async def open_sample(request: SampleRequest, principal: Annotated[Principal, caller]) -> Data[SampleResponse]:
        opened = await service.open(principal.user_id, request.name)
        return Data(data=SampleResponse.model_validate(opened))

    @router.get("/{sample_id}", summary="Get one of the caller's samples")
    async def get_sample(sample_id: UUID, principal: Annotated[Principal, caller]) -> Data[SampleResponse]:
        sample = await service.get(principal.user_id, SampleId(sample_id))
        return Data(data=SampleResponse.model_validate(sample))

    @router.post("/{sample_id}/close", summary="Close a sample", description="A closed sample stays closed.")
    async def close_sample(sample_id: UUID, principal: Annotated[Principal, caller]) -> Data[SampleResponse]:
        closed = await service.close(principal.user_id, SampleId(sample_id))
        return Data(data=SampleResponse.model_validate(closed))

    return router
