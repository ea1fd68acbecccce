"""The addresses that orders are shipped to."""

from dataclasses import dataclass
from typing import NewType
from uuid import UUID

AddressId = NewType("AddressId", UUID)

MAX_ADDRESSES = 50
"""The number of addresses that one buyer's address book may hold."""


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address as it is written on a parcel. `country` is two letters of ISO 3166-1."""

    recipient: str
    line1: str
    city: str
    country: str
    line2: str | None = None
    region: str | None = None
    postal_code: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class SavedAddress:
    """An address in a buyer's address book."""

    id: AddressId
    address: Address
