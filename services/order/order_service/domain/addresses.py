"""The addresses that orders are shipped to."""

from dataclasses import dataclass
from typing import NewType
from uuid import UUID

from chassis.types.countries import check_country

from order_service.domain.errors import UnknownCountry

AddressId = NewType("AddressId", UUID)

MAX_ADDRESSES = 50
"""The number of addresses that one buyer's address book may hold."""


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address as it is written on a parcel. `country` is a code of ISO 3166-1.

    Addresses that were stored before countries were checked may have another one.
    """

    recipient: str
    line1: str
    city: str
    country: str
    line2: str | None = None
    region: str | None = None
    postal_code: str | None = None
    phone: str | None = None

    def ensure_known_country(self) -> None:
        """Raises UnknownCountry."""
        try:
            check_country(self.country)
        except ValueError as error:
            raise UnknownCountry(str(error)) from None


@dataclass(frozen=True, slots=True)
class SavedAddress:
    """An address in a buyer's address book."""

    id: AddressId
    address: Address
