"""Address books over HTTP."""

from typing import Annotated
from uuid import UUID

from chassis.http.authentication import Principal
from chassis.http.schemas import Data, RequestBody, ResponseBody, StorableText
from fastapi import APIRouter, Depends
from pydantic import Field

from order_service.domain.addresses import Address, AddressId, KnownAddress
from order_service.handlers.callers import Callers
from order_service.service.addresses import AddressBooks

_Written = Annotated[StorableText, Field(min_length=1, max_length=200, pattern=r"\S")]


class AddressRequest(RequestBody):
    """As it is written on a parcel."""

    recipient: Annotated[_Written, Field(examples=["Ada Lovelace"])]
    line1: Annotated[_Written, Field(examples=["12 St James's Square"])]
    line2: _Written | None = None
    city: Annotated[_Written, Field(examples=["London"])]
    region: _Written | None = None
    postal_code: Annotated[StorableText, Field(min_length=1, max_length=20)] | None = None
    country: Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2", examples=["GB"])]
    phone: Annotated[StorableText, Field(min_length=1, max_length=40)] | None = None

    def to_address(self) -> Address:
        return Address(**self.model_dump())


class AddressAnswer(ResponseBody):
    recipient: str
    line1: str
    line2: str | None
    city: str
    region: str | None
    postal_code: str | None
    country: str
    phone: str | None


class KnownAddressAnswer(AddressAnswer):
    id: UUID


def routes(books: AddressBooks, callers: Callers) -> APIRouter:
    router = APIRouter(prefix="/api/v1/addresses", tags=["addresses"])
    Caller = Annotated[Principal, Depends(callers.required())]  # noqa: N806 - a type

    @router.get("", summary="One's address book")
    async def list_addresses(caller: Caller) -> Data[list[KnownAddressAnswer]]:
        return Data(data=[_answer(known) for known in await books.of(caller.user_id)])

    @router.post("", status_code=201, summary="Keep an address")
    async def add_address(request: AddressRequest, caller: Caller) -> Data[KnownAddressAnswer]:
        return Data(data=_answer(await books.add(caller.user_id, request.to_address())))

    @router.put("/{address_id}", summary="Change an address; orders keep the one they were placed with")
    async def change_address(address_id: UUID, request: AddressRequest, caller: Caller) -> Data[KnownAddressAnswer]:
        known = KnownAddress(AddressId(address_id), request.to_address())
        return Data(data=_answer(await books.change(caller.user_id, known)))

    @router.delete("/{address_id}", status_code=204, summary="Forget an address")
    async def remove_address(address_id: UUID, caller: Caller) -> None:
        await books.remove(caller.user_id, AddressId(address_id))

    return router


def _answer(known: KnownAddress) -> KnownAddressAnswer:
    return KnownAddressAnswer(id=known.id, **AddressAnswer.model_validate(known.address).model_dump())
