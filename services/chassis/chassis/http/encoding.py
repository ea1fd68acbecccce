"""Responses of hot routes: plain dicts and lists, which are encoded once.

Such a route declares its `response_model` for the OpenAPI document, and returns the response itself, so that FastAPI
builds no model and does not walk through it. A test of the service compares what it sends with the model.
"""

from collections.abc import Mapping

from fastapi import Response
from pydantic_core import to_json

UNCONFIRMED: Mapping[str, str] = {"Cache-Control": "max-age=0"}
"""The headers of an unconfirmed answer: one that may change although no data does, since it lacks a part, or has what a
process keeps.

The gateway does not confirm such an answer (docs/adr/0068); caches beyond it ask again each time.
"""


class JsonResponse(Response):
    """A response with a JSON body. Times and numbers have the form that Pydantic gives them."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return to_json(content)
