"""The HTTP endpoint that receives the provider's webhooks."""

from typing import Annotated

from fastapi import APIRouter, Header, Request

from payment_service.handlers.problems import UNAVAILABLE, problem_responses
from payment_service.handlers.schemas import WebhookResponse
from payment_service.service.webhooks import WebhookService


def routes(webhooks: WebhookService) -> APIRouter:
    router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"], responses=problem_responses(UNAVAILABLE))

    @router.post(
        "/stripe",
        summary="Receive an event that Stripe has signed",
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}},
    )
    async def receive_stripe_event(
        request: Request,
        stripe_signature: Annotated[
            str | None, Header(description="the time and the HMAC of the body, as Stripe computes them")
        ] = None,
    ) -> WebhookResponse:
        await webhooks.receive(await request.body(), stripe_signature)
        return WebhookResponse()

    return router
