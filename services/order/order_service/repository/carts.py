"""Statements on carts.

Locks are taken in this order: a guest's cart, the buyer's row, the buyer's cart. Lines change only while their cart is
locked.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database import idempotency
from chassis.database.idempotency import Claim
from chassis.database.pruning import delete_oldest
from chassis.types.ids import OrderId, ProductId, UserId
from sqlalchemy import ColumnElement, Uuid, and_, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.carts import MAX_QUANTITY, CartId, CartToken
from order_service.domain.items import Line
from order_service.repository.tables import cart_drafts, cart_keys, cart_lines, carts, idempotency_keys


class CartRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def find_of_buyer(self, buyer_id: UserId) -> CartId | None:
        """Reads by the unique owner, without a lock."""
        return _cart_id(await self._transaction.scalar(select(carts.c.id).where(carts.c.owner_id == buyer_id)))

    async def lock_of_buyer(self, buyer_id: UserId) -> CartId | None:
        """Locks the buyer's cart, found by its unique owner."""
        query = select(carts.c.id).where(carts.c.owner_id == buyer_id).with_for_update()
        return _cart_id(await self._transaction.scalar(query))

    async def ensure_of_buyer(self, buyer_id: UserId, new_id: UUID, at: datetime) -> CartId:
        """Locks the buyer's cart, creating it if needed. The buyer's row must be locked."""
        new = insert(carts).values(id=new_id, owner_id=buyer_id, touched_at=at)
        held = new.on_conflict_do_update(index_elements=[carts.c.owner_id], set_={"touched_at": at})
        return CartId((await self._transaction.execute(held.returning(carts.c.id))).scalar_one())

    async def add_of_guest(self, token: CartToken, new_id: UUID, at: datetime) -> CartId:
        """Creates a guest's cart."""
        await self._transaction.execute(insert(carts).values(id=new_id, token_hash=_hash(token), touched_at=at))
        return CartId(new_id)

    async def find_of_guest(self, token: CartToken, touched_since: datetime) -> CartId | None:
        """Reads by the unique hash, without a lock; returns None for a cart last used before `touched_since`."""
        return _cart_id(await self._transaction.scalar(select(carts.c.id).where(_of_guest(token, touched_since))))

    async def lock_of_guest(self, token: CartToken, touched_since: datetime) -> CartId | None:
        """Locks a guest's cart; returns None for a cart last used before `touched_since`."""
        query = select(carts.c.id).where(_of_guest(token, touched_since)).with_for_update()
        return _cart_id(await self._transaction.scalar(query))

    async def touch(self, cart_id: CartId, at: datetime, if_before: datetime) -> None:
        """Records that the cart is still in use, if its last recorded use was before `if_before`."""
        stale = and_(carts.c.id == cart_id, carts.c.touched_at < if_before)
        await self._transaction.execute(update(carts).where(stale).values(touched_at=at))

    async def remove(self, cart_id: CartId) -> None:
        """Deletes a cart with its lines."""
        await self._transaction.execute(delete(carts).where(carts.c.id == cart_id))

    async def remove_of_buyer(self, buyer_id: UserId) -> None:
        """Deletes the buyer's cart with its lines."""
        await self._transaction.execute(delete(carts).where(carts.c.owner_id == buyer_id))

    async def prune_guest_carts(self, before: datetime, limit: int) -> int:
        """Deletes the `limit` guests' carts that were idle longest, of those that were last used before `before`.

        Returns how many it deleted. A cart that a request has locked is in use, so it stays. Along guest_carts_by_age.
        """
        oldest = delete_oldest(carts.c.touched_at, before, limit, carts.c.token_hash.is_not(None))
        return (await self._transaction.execute(oldest)).rowcount

    async def lines(self, cart_id: CartId) -> list[Line]:
        """Returns the lines in the order in which they were added."""
        query = select(cart_lines).where(cart_lines.c.cart_id == cart_id).order_by(cart_lines.c.position)
        return [Line(ProductId(row.product_id), row.quantity) for row in await self._transaction.execute(query)]

    async def add_lines(self, cart_id: CartId, lines: Sequence[Line]) -> None:
        """Adds the quantities to those in the cart, up to MAX_QUANTITY. The cart must be locked."""
        new = insert(cart_lines)
        sum_ = func.least(cart_lines.c.quantity + new.excluded.quantity, MAX_QUANTITY)
        added = new.on_conflict_do_update(
            index_elements=[cart_lines.c.cart_id, cart_lines.c.product_id], set_={"quantity": sum_}
        )
        await self._transaction.execute(added, _rows(cart_id, lines))

    async def set_quantities(self, cart_id: CartId, lines: Sequence[Line]) -> None:
        """Sets the quantities of the lines, adding lines that are missing. The cart must be locked."""
        new = insert(cart_lines)
        replaced = new.on_conflict_do_update(
            index_elements=[cart_lines.c.cart_id, cart_lines.c.product_id], set_={"quantity": new.excluded.quantity}
        )
        await self._transaction.execute(replaced, _rows(cart_id, lines))

    async def subtract_lines(self, cart_id: CartId, lines: Sequence[Line]) -> None:
        """Subtracts the quantities from the cart, which must be locked and hold as much; additional units stay."""
        for line in lines:
            own = _line(cart_id, line.product_id)
            await self._transaction.execute(delete(cart_lines).where(own, cart_lines.c.quantity <= line.quantity))
            await self._transaction.execute(
                update(cart_lines).where(own).values(quantity=cart_lines.c.quantity - line.quantity)
            )

    async def remove_line(self, cart_id: CartId, product_id: ProductId) -> None:
        """Deletes by primary key. The cart must be locked."""
        await self._transaction.execute(delete(cart_lines).where(_line(cart_id, product_id)))

    async def remove_lines(self, cart_id: CartId) -> None:
        """Deletes all lines of the cart, which must be locked."""
        await self._transaction.execute(delete(cart_lines).where(cart_lines.c.cart_id == cart_id))


class CartKeyRepository:
    """The idempotency keys that additions to carts were sent with. They change only while their cart is locked."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def claim(self, cart_id: CartId, key: idempotency.Key, fingerprint: str, at: datetime) -> bool:
        """Stores the first use of a key. Returns False if the same request used it before.

        The cart must be locked. Raises IdempotencyKeyReused.
        """
        new = insert(cart_keys).values(cart_id=cart_id, key=key, fingerprint=fingerprint, created_at=at)
        stored = await self._transaction.execute(new.on_conflict_do_nothing().returning(cart_keys.c.key))
        if stored.first() is not None:
            return True
        own = and_(cart_keys.c.cart_id == cart_id, cart_keys.c.key == key)
        held = (await self._transaction.execute(select(cart_keys.c.fingerprint).where(own))).scalar_one()
        Claim(cart_id, fingerprint).resolve(Claim(cart_id, held))
        return False

    async def copy(self, source: CartId, target: CartId) -> None:
        """Adds the keys of one cart to another, which keeps its own. Both carts must be locked."""
        keys = select(literal(target, Uuid), cart_keys.c.key, cart_keys.c.fingerprint, cart_keys.c.created_at)
        new = insert(cart_keys).from_select(list(cart_keys.c.keys()), keys.where(cart_keys.c.cart_id == source))
        await self._transaction.execute(new.on_conflict_do_nothing())

    async def prune(self, before: datetime, limit: int) -> int:
        """Deletes the `limit` oldest keys that are older than `before`, and returns how many; uses cart_keys_by_age."""
        return (await self._transaction.execute(delete_oldest(cart_keys.c.created_at, before, limit))).rowcount


class CartSnapshotRepository:
    """Stores what was in the cart at an idempotency key's first request.

    The cart may change afterwards, what the key orders may not. Its lock is the key's row.
    """

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def find(self, order_id: OrderId) -> list[Line] | None:
        """Reads by primary key."""
        stored = await self._transaction.scalar(select(cart_drafts.c.lines).where(cart_drafts.c.order_id == order_id))
        return None if stored is None else [Line(ProductId(product), quantity) for product, quantity in stored]

    async def add(self, order_id: OrderId, lines: Sequence[Line]) -> None:
        """Stores a snapshot, which is deleted with its key. The key's row must be locked."""
        stored = [[line.product_id, line.quantity] for line in lines]
        await self._transaction.execute(insert(cart_drafts).values(order_id=order_id, lines=stored))

    async def lock_key(self, order_id: OrderId) -> bool:
        """Locks the key, found by its unique resource; returns False if no key stands for this order id any more."""
        query = select(idempotency_keys.c.key).where(idempotency_keys.c.resource_id == order_id).with_for_update()
        return await self._transaction.scalar(query) is not None

    async def release_key(self, order_id: OrderId) -> None:
        """Deletes the key with its snapshot, so that it may stand for another order. Its row must be locked."""
        await self._transaction.execute(delete(idempotency_keys).where(idempotency_keys.c.resource_id == order_id))


def _of_guest(token: CartToken, touched_since: datetime) -> ColumnElement[bool]:
    return and_(carts.c.token_hash == _hash(token), carts.c.touched_at >= touched_since)


def _line(cart_id: CartId, product_id: ProductId) -> ColumnElement[bool]:
    return and_(cart_lines.c.cart_id == cart_id, cart_lines.c.product_id == product_id)


def _hash(token: CartToken) -> bytes:
    """Returns the stored form of a token, which is random enough to need no salt."""
    return hashlib.sha256(token.encode()).digest()


def _cart_id(value: Any) -> CartId | None:
    return None if value is None else CartId(value)


def _rows(cart_id: CartId, lines: Sequence[Line]) -> list[dict[str, object]]:
    return [{"cart_id": cart_id, "product_id": line.product_id, "quantity": line.quantity} for line in lines]
