"""Statements on carts. Locks: a guest's cart, then a buyer's row, then the buyer's cart; lines change under their cart's lock."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.types.ids import OrderId, ProductId, UserId
from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.carts import MAX_QUANTITY, CartId, CartToken
from order_service.domain.orders import Line
from order_service.repository.tables import cart_drafts, cart_lines, carts, idempotency_keys


class CartRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def of_buyer(self, buyer_id: UserId) -> CartId | None:
        """Along the unique owner, without a lock."""
        return _cart_id(await self._transaction.scalar(select(carts.c.id).where(carts.c.owner_id == buyer_id)))

    async def lock_of_buyer(self, buyer_id: UserId) -> CartId | None:
        wanted = select(carts.c.id).where(carts.c.owner_id == buyer_id).with_for_update()
        return _cart_id(await self._transaction.scalar(wanted))

    async def ensure_of_buyer(self, buyer_id: UserId, new_id: UUID, at: datetime) -> CartId:
        """The buyer's cart, locked, made here where there was none. The buyer's row must be locked."""
        new = insert(carts).values(id=new_id, owner_id=buyer_id, touched_at=at)
        held = new.on_conflict_do_update(index_elements=[carts.c.owner_id], set_={"touched_at": at})
        return CartId((await self._transaction.execute(held.returning(carts.c.id))).scalar_one())

    async def add_of_guest(self, token: CartToken, new_id: UUID, at: datetime) -> CartId:
        await self._transaction.execute(insert(carts).values(id=new_id, token_hash=_hash(token), touched_at=at))
        return CartId(new_id)

    async def of_guest(self, token: CartToken, touched_since: datetime) -> CartId | None:
        """Along the unique hash, without a lock; None for one that nobody touched for too long."""
        return _cart_id(await self._transaction.scalar(select(carts.c.id).where(_guests(token, touched_since))))

    async def lock_of_guest(self, token: CartToken, touched_since: datetime) -> CartId | None:
        wanted = select(carts.c.id).where(_guests(token, touched_since)).with_for_update()
        return _cart_id(await self._transaction.scalar(wanted))

    async def touch(self, cart_id: CartId, at: datetime, unless_since: datetime) -> None:
        """Says that somebody still wants it."""
        stale = and_(carts.c.id == cart_id, carts.c.touched_at < unless_since)
        await self._transaction.execute(update(carts).where(stale).values(touched_at=at))

    async def remove(self, cart_id: CartId) -> None:
        """With its lines."""
        await self._transaction.execute(delete(carts).where(carts.c.id == cart_id))

    async def remove_of_buyer(self, buyer_id: UserId) -> None:
        await self._transaction.execute(delete(carts).where(carts.c.owner_id == buyer_id))

    async def remove_untouched(self, since: datetime) -> None:
        """Guests' carts, along guest_carts_by_age."""
        idle = and_(carts.c.token_hash.is_not(None), carts.c.touched_at < since)
        await self._transaction.execute(delete(carts).where(idle))

    async def lines(self, cart_id: CartId) -> list[Line]:
        """In the order in which they were put in."""
        wanted = select(cart_lines).where(cart_lines.c.cart_id == cart_id).order_by(cart_lines.c.position)
        return [Line(ProductId(row.product_id), row.quantity) for row in await self._transaction.execute(wanted)]

    async def add(self, cart_id: CartId, lines: Sequence[Line]) -> None:
        """Quantities add, up to what a line may hold. The cart must be locked."""
        new = insert(cart_lines)
        more = func.least(cart_lines.c.quantity + new.excluded.quantity, MAX_QUANTITY)
        added = new.on_conflict_do_update(
            index_elements=[cart_lines.c.cart_id, cart_lines.c.product_id], set_={"quantity": more}
        )
        await self._transaction.execute(added, _rows(cart_id, lines))

    async def put(self, cart_id: CartId, lines: Sequence[Line]) -> None:
        """Sets quantities. The cart must be locked."""
        new = insert(cart_lines)
        put = new.on_conflict_do_update(
            index_elements=[cart_lines.c.cart_id, cart_lines.c.product_id], set_={"quantity": new.excluded.quantity}
        )
        await self._transaction.execute(put, _rows(cart_id, lines))

    async def take(self, cart_id: CartId, lines: Sequence[Line]) -> None:
        """Out of the cart, which must be locked and hold as much; what came in meanwhile stays."""
        for line in lines:
            theirs = and_(cart_lines.c.cart_id == cart_id, cart_lines.c.product_id == line.product_id)
            await self._transaction.execute(delete(cart_lines).where(theirs, cart_lines.c.quantity <= line.quantity))
            await self._transaction.execute(
                update(cart_lines).where(theirs).values(quantity=cart_lines.c.quantity - line.quantity)
            )

    async def take_out(self, cart_id: CartId, product_id: ProductId) -> None:
        theirs = and_(cart_lines.c.cart_id == cart_id, cart_lines.c.product_id == product_id)
        await self._transaction.execute(delete(cart_lines).where(theirs))

    async def empty(self, cart_id: CartId) -> None:
        await self._transaction.execute(delete(cart_lines).where(cart_lines.c.cart_id == cart_id))


class DraftRepository:
    """What an idempotency key ordered from a cart: the cart may change, what the key stands for may not. Locks: the key's row."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def find(self, order_id: OrderId) -> list[Line] | None:
        """By primary key."""
        written = await self._transaction.scalar(select(cart_drafts.c.lines).where(cart_drafts.c.order_id == order_id))
        return None if written is None else [Line(ProductId(product), quantity) for product, quantity in written]

    async def add(self, order_id: OrderId, lines: Sequence[Line]) -> None:
        """The key's row must be locked; the draft goes with it."""
        written = [[line.product_id, line.quantity] for line in lines]
        await self._transaction.execute(insert(cart_drafts).values(order_id=order_id, lines=written))

    async def lock_key(self, order_id: OrderId) -> bool:
        """Along the unique resource; False where the key stands for nothing any more."""
        wanted = select(idempotency_keys.c.key).where(idempotency_keys.c.resource_id == order_id).with_for_update()
        return await self._transaction.scalar(wanted) is not None

    async def let_go(self, order_id: OrderId) -> None:
        """The key may stand for another order from now on. Its row must be locked."""
        await self._transaction.execute(delete(idempotency_keys).where(idempotency_keys.c.resource_id == order_id))


def _guests(token: CartToken, touched_since: datetime) -> ColumnElement[bool]:
    return and_(carts.c.token_hash == _hash(token), carts.c.touched_at >= touched_since)


def _hash(token: CartToken) -> bytes:
    """A token is random enough to need no salt."""
    return hashlib.sha256(token.encode()).digest()


def _cart_id(found: Any) -> CartId | None:
    return None if found is None else CartId(found)


def _rows(cart_id: CartId, lines: Sequence[Line]) -> list[dict[str, object]]:
    return [{"cart_id": cart_id, "product_id": line.product_id, "quantity": line.quantity} for line in lines]
