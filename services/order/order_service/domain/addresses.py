"""Where an order goes to. Pure."""

from dataclasses import dataclass
from typing import NewType
from uuid import UUID

AddressId = NewType("AddressId", UUID)

MAX_ADDRESSES = 50
"""How many one buyer keeps."""


@dataclass(frozen=True, slots=True)
class Address:
    """As it is written on a parcel. `country` is two letters of ISO 3166-1."""

    recipient: str
    line1: str
    city: str
    country: str
    line2: str | None = None
    region: str | None = None
    postal_code: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class KnownAddress:
    """One that a buyer keeps in their address book."""

    id: AddressId
    address: Address
