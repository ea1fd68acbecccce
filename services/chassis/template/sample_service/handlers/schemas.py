"""The request and response bodies of the HTTP API."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from chassis.http.schemas import RequestBody, ResponseBody, StorableText
from pydantic import Field


class SampleRequest(RequestBody):
    name: Annotated[StorableText, Field(min_length=1, max_length=100, examples=["First"])]


class SampleResponse(ResponseBody):
    id: UUID
    name: str
    created_at: datetime
    closed_at: datetime | None = Field(description="When it was closed; null while it is open")
