"""The use cases of address books: one's own, and nobody else's."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from chassis.database.engine import Database
from chassis.types.ids import UserId

from order_service.domain.addresses import MAX_ADDRESSES, Address, AddressId, KnownAddress
from order_service.domain.errors import AccountErased, AddressBookFull, UnknownAddress
from order_service.repository.buyers import BuyerRepository


class AddressBooks:
    def __init__(self, database: Database, now: Callable[[], datetime], new_id: Callable[[], UUID]) -> None:
        self._database = database
        self._now = now
        self._new_id = new_id

    async def of(self, buyer_id: UserId) -> Sequence[KnownAddress]:
        """Oldest first; at most MAX_ADDRESSES."""
        async with self._database.begin() as transaction:
            return await BuyerRepository(transaction).addresses(buyer_id)

    async def add(self, buyer_id: UserId, address: Address) -> KnownAddress:
        """Raises AddressBookFull, AccountErased."""
        known = KnownAddress(AddressId(self._new_id()), address)
        async with self._database.begin() as transaction:
            repository = BuyerRepository(transaction)
            await _ensure_alive(repository, buyer_id)
            if await repository.count_addresses(buyer_id) >= MAX_ADDRESSES:
                raise AddressBookFull(MAX_ADDRESSES)
            await repository.add_address(buyer_id, known, self._now())
        return known

    async def change(self, buyer_id: UserId, known: KnownAddress) -> KnownAddress:
        """Orders keep the address that they were placed with. Raises UnknownAddress, AccountErased."""
        async with self._database.begin() as transaction:
            repository = BuyerRepository(transaction)
            await _ensure_alive(repository, buyer_id)
            if not await repository.change_address(buyer_id, known):
                raise UnknownAddress(known.id)
        return known

    async def remove(self, buyer_id: UserId, address_id: AddressId) -> None:
        """Raises UnknownAddress."""
        async with self._database.begin() as transaction:
            if not await BuyerRepository(transaction).remove_address(buyer_id, address_id):
                raise UnknownAddress(address_id)


async def _ensure_alive(repository: BuyerRepository, buyer_id: UserId) -> None:
    if not await repository.lock(buyer_id):
        raise AccountErased(buyer_id)
