"""The use cases of buyers' address books. A buyer reads and changes only their own."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from chassis.database.engine import Database
from chassis.types.ids import UserId

from order_service.domain.addresses import MAX_ADDRESSES, Address, AddressId, SavedAddress
from order_service.domain.errors import AccountErased, AddressBookFull, UnknownAddress
from order_service.repository.buyers import BuyerRepository


class AddressService:
    def __init__(self, database: Database, now: Callable[[], datetime], new_id: Callable[[], UUID]) -> None:
        self._database = database
        self._now = now
        self._new_id = new_id

    async def list_addresses(self, buyer_id: UserId) -> Sequence[SavedAddress]:
        """Returns the buyer's address book, oldest address first; at most MAX_ADDRESSES."""
        async with self._database.begin() as transaction:
            return await BuyerRepository(transaction).addresses(buyer_id)

    async def add_address(self, buyer_id: UserId, address: Address) -> SavedAddress:
        """Raises AddressBookFull, AccountErased."""
        saved = SavedAddress(AddressId(self._new_id()), address)
        async with self._database.begin() as transaction:
            repository = BuyerRepository(transaction)
            await _lock_buyer(repository, buyer_id)
            if await repository.count_addresses(buyer_id) >= MAX_ADDRESSES:
                raise AddressBookFull(MAX_ADDRESSES)
            await repository.add_address(buyer_id, saved, self._now())
        return saved

    async def change_address(self, buyer_id: UserId, saved: SavedAddress) -> SavedAddress:
        """Replaces an address; orders keep the address that they were placed with.

        Raises UnknownAddress, AccountErased.
        """
        async with self._database.begin() as transaction:
            repository = BuyerRepository(transaction)
            await _lock_buyer(repository, buyer_id)
            if not await repository.change_address(buyer_id, saved):
                raise UnknownAddress(saved.id)
        return saved

    async def remove_address(self, buyer_id: UserId, address_id: AddressId) -> None:
        """Raises UnknownAddress."""
        async with self._database.begin() as transaction:
            if not await BuyerRepository(transaction).remove_address(buyer_id, address_id):
                raise UnknownAddress(address_id)


async def _lock_buyer(repository: BuyerRepository, buyer_id: UserId) -> None:
    if not await repository.lock(buyer_id):
        raise AccountErased(buyer_id)
