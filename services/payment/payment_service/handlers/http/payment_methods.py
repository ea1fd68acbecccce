"""The HTTP API of saved payment methods."""

from typing import Annotated
from uuid import UUID

from chassis.http.authentication import Authenticator, Principal
from chassis.http.schemas import Data
from fastapi import APIRouter, Depends

from payment_service.domain.payment_methods import PaymentMethodId
from payment_service.handlers.problems import UNAVAILABLE, problem_responses
from payment_service.handlers.schemas import PaymentMethodRequest, PaymentMethodResponse
from payment_service.service.payment_methods import PaymentMethodService


def routes(methods: PaymentMethodService, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/payment-methods", tags=["payments"], responses=problem_responses(UNAVAILABLE))
    Caller = Annotated[Principal, Depends(auth.required)]  # noqa: N806 - a type

    @router.get("", summary="List the caller's saved payment methods, newest first")
    async def list_methods(caller: Caller) -> Data[list[PaymentMethodResponse]]:
        saved = await methods.list_of_user(caller.user_id)
        return Data(data=[PaymentMethodResponse.model_validate(method) for method in saved])

    @router.post("", status_code=201, summary="Save a payment method")
    async def save_method(request: PaymentMethodRequest, caller: Caller) -> Data[PaymentMethodResponse]:
        saved = await methods.save(caller.user_id, request.payment_method)
        return Data(data=PaymentMethodResponse.model_validate(saved))

    @router.delete("/{method_id}", status_code=204, summary="Delete a saved payment method")
    async def remove_method(method_id: UUID, caller: Caller) -> None:
        await methods.remove(caller.user_id, PaymentMethodId(method_id))

    return router
