"""The HTTP routes of address books."""

from typing import Annotated
from uuid import UUID

from chassis.http.authentication import Principal
from chassis.http.schemas import Data
from fastapi import APIRouter, Depends

from order_service.domain.addresses import AddressId, SavedAddress
from order_service.handlers.dependencies import CallerDependencies
from order_service.handlers.schemas import AddressRequest, AddressResponse, SavedAddressResponse
from order_service.service.addresses import AddressService


def routes(addresses: AddressService, callers: CallerDependencies) -> APIRouter:
    router = APIRouter(prefix="/api/v1/addresses", tags=["addresses"])
    Caller = Annotated[Principal, Depends(callers.buyer())]  # noqa: N806 - a type

    @router.get("", summary="List the caller's address book")
    async def list_addresses(caller: Caller) -> Data[list[SavedAddressResponse]]:
        return Data(data=[_response(saved) for saved in await addresses.list_addresses(caller.user_id)])

    @router.post("", status_code=201, summary="Add an address to the caller's address book")
    async def add_address(request: AddressRequest, caller: Caller) -> Data[SavedAddressResponse]:
        return Data(data=_response(await addresses.add_address(caller.user_id, request.to_address())))

    @router.put(
        "/{address_id}",
        summary="Change an address of the caller's address book",
        description="Orders keep the address that they were placed with.",
    )
    async def change_address(address_id: UUID, request: AddressRequest, caller: Caller) -> Data[SavedAddressResponse]:
        saved = SavedAddress(AddressId(address_id), request.to_address())
        return Data(data=_response(await addresses.change_address(caller.user_id, saved)))

    @router.delete("/{address_id}", status_code=204, summary="Delete an address of the caller's address book")
    async def remove_address(address_id: UUID, caller: Caller) -> None:
        await addresses.remove_address(caller.user_id, AddressId(address_id))

    return router


def _response(saved: SavedAddress) -> SavedAddressResponse:
    return SavedAddressResponse(id=saved.id, **AddressResponse.model_validate(saved.address).model_dump())
