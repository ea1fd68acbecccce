"""Statements on the devices of a user. The account's row must be locked where they are written."""

from datetime import datetime

from chassis.database.pruning import delete_oldest
from chassis.types.ids import UserId
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.devices import Device, DeviceUse
from user_service.repository.tables import devices


class DeviceRepository:
    """Reads and writes devices within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def knows_network(self, user_id: UserId, network_digest: bytes) -> bool:
        """Returns whether the user has logged in from this network; reads through the primary key."""
        query = select(devices.c.user_id).where(
            devices.c.user_id == user_id, devices.c.network_digest == network_digest
        )
        return await self._transaction.scalar(query.limit(1)) is not None

    async def remember(self, user_id: UserId, device: Device, at: datetime) -> bool:
        """Stores that the user has logged in with a device; returns whether it is new, and not the user's first."""
        of_user = select(devices.c.user_id).where(devices.c.user_id == user_id).limit(1)
        this_one = of_user.where(
            devices.c.network_digest == device.network_digest, devices.c.program_digest == device.program_digest
        )
        has_devices = await self._transaction.scalar(of_user) is not None
        is_known = await self._transaction.scalar(this_one) is not None
        new = insert(devices).values(
            user_id=user_id,
            network_digest=device.network_digest,
            program_digest=device.program_digest,
            first_used_at=at,
            last_used_at=at,
        )
        await self._transaction.execute(new.on_conflict_do_update(constraint="devices_pkey", set_={"last_used_at": at}))
        return has_devices and not is_known

    async def list_for_user(self, user_id: UserId) -> list[DeviceUse]:
        """Returns when each device of the user was first and last used, the last used first."""
        query = select(devices.c.first_used_at, devices.c.last_used_at).where(devices.c.user_id == user_id)
        rows = await self._transaction.execute(query.order_by(devices.c.last_used_at.desc()))
        return [DeviceUse(row.first_used_at, row.last_used_at) for row in rows]

    async def delete_for_user(self, user_id: UserId) -> None:
        await self._transaction.execute(delete(devices).where(devices.c.user_id == user_id))

    async def delete_unused_since(self, before: datetime, limit: int) -> int:
        """Deletes the `limit` devices that were used last before a time, through `devices_by_use`; returns how many."""
        return (await self._transaction.execute(delete_oldest(devices.c.last_used_at, before, limit))).rowcount
