"""Every change of stock raises the change count, also those that no request of a caller makes."""

from uuid import uuid4

from chassis.database.change_counts import ChangeCount
from chassis.grpc.client import call
from inventory_harness import Inventory, UseCases, new_product
from shopapi.inventory.v1.inventory_pb2 import GetChangeCountRequest


async def test_every_change_of_stock_is_counted(use_cases: UseCases) -> None:
    changes, product, order, expired, paid = (
        ChangeCount(use_cases.database),
        use_cases.new_product(),
        *(uuid4() for _ in range(3)),
    )
    counts = [await changes.read()]
    await use_cases.set_stock(product, 10)
    counts.append(await changes.read())
    await use_cases.reserve(order, (product, 1))
    counts.append(await changes.read())
    await use_cases.release(order)
    counts.append(await changes.read())
    await use_cases.receive_placed(paid, (product, 1))
    counts.append(await changes.read())
    await use_cases.receive_confirmed(paid, (product, 1))
    counts.append(await changes.read())
    await use_cases.reserve(expired, (product, 2))
    counts.append(await changes.read())
    await use_cases.expire_reservations()
    counts.append(await changes.read())
    assert counts == sorted(set(counts))
    await use_cases.units(product)
    assert await changes.read() == counts[-1]


async def test_the_count_is_read_over_grpc(inventory: Inventory) -> None:
    async def count() -> int:
        return (await call(inventory.rpc.GetChangeCount, GetChangeCountRequest())).count

    before = await count()
    await inventory.set_stock(new_product(), 1)
    assert await count() > before
