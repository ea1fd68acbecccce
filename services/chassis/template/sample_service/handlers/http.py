"""Samples over HTTP. Everybody sees their own, and nobody else's."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from chassis.http.authentication import Authenticator, Principal
from chassis.http.schemas import Data, PageOf, PageQuery, RequestBody, ResponseBody, StorableText
from fastapi import APIRouter, Depends
from pydantic import Field

from sample_service.domain.samples import SampleId
from sample_service.service.samples import Samples


class SampleRequest(RequestBody):
    name: Annotated[StorableText, Field(min_length=1, max_length=100, examples=["First"])]


class SampleAnswer(ResponseBody):
    id: UUID
    name: str
    created_at: datetime
    closed_at: datetime | None


def routes(samples: Samples, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/samples", tags=["samples"])
    caller = Depends(auth.required)

    @router.get("", summary="One's own samples, newest first")
    async def list_samples(paging: PageQuery, principal: Annotated[Principal, caller]) -> PageOf[SampleAnswer]:
        found, total = await samples.page(principal.user_id, paging)
        data = [SampleAnswer.model_validate(sample) for sample in found]
        return PageOf(data=data, page=paging.page, limit=paging.limit, total=total)

    @router.post("", status_code=201, summary="Open one")
    async def open_sample(request: SampleRequest, principal: Annotated[Principal, caller]) -> Data[SampleAnswer]:
        opened = await samples.open(principal.user_id, request.name)
        return Data(data=SampleAnswer.model_validate(opened))

    @router.get("/{sample_id}", summary="One of one's own")
    async def get_sample(sample_id: UUID, principal: Annotated[Principal, caller]) -> Data[SampleAnswer]:
        found = await samples.get(principal.user_id, SampleId(sample_id))
        return Data(data=SampleAnswer.model_validate(found))

    @router.post("/{sample_id}/close", summary="Close it, for good")
    async def close_sample(sample_id: UUID, principal: Annotated[Principal, caller]) -> Data[SampleAnswer]:
        closed = await samples.close(principal.user_id, SampleId(sample_id))
        return Data(data=SampleAnswer.model_validate(closed))

    return router
