"""Responses of hot routes: plain dicts and lists, which are encoded once.

Such a route declares its `response_model` for the OpenAPI document, and returns the response itself, so that FastAPI
builds no model and does not walk through it. A test of the service compares what it sends with the model.
"""

from fastapi import Response
from pydantic_core import to_json


class JsonResponse(Response):
    """A response with a JSON body. Times and numbers have the form that Pydantic gives them."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return to_json(content)
