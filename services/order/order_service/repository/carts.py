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
from chassis.database.statements import Command, Connection, Record, Statement, insert_rows, sent_rows
from chassis.types.ids import OrderId, ProductId, UserId
from sqlalchemy import ColumnElement, Uuid, and_, bindparam, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.carts import MAX_QUANTITY, CartId, CartToken
from order_service.domain.items import Line
from order_service.repository.tables import cart_drafts, cart_keys, cart_lines, carts, idempotency_keys


def _to_cart_id(row: Record) -> CartId:
    return CartId(row["id"])


def _to_line(row: Record) -> Line:
    return Line(ProductId(row["product_id"]), row["quantity"])


_OF_BUYER = select(carts.c.id).where(carts.c.owner_id == bindparam("buyer_id"))
_FIND_OF_BUYER = Statement(_OF_BUYER, _to_cart_id)
_LOCK_OF_BUYER = Statement(_OF_BUYER.with_for_update(), _to_cart_id)
_ENSURE_OF_BUYER = Statement(
    insert(carts)
    .values(id=bindparam("new_id"), owner_id=bindparam("buyer_id"), touched_at=bindparam("at"))
    .on_conflict_do_update(index_elements=[carts.c.owner_id], set_={"touched_at": bindparam("at")})
    .returning(carts.c.id),
    _to_cart_id,
)
_LINES = Statement(
    select(cart_lines.c.product_id, cart_lines.c.quantity)
    .where(cart_lines.c.cart_id == bindparam("cart"))
    .order_by(cart_lines.c.position),
    _to_line,
)
_LINES_OF_BUYER = Statement(
    select(cart_lines.c.product_id, cart_lines.c.quantity)
    .join_from(carts, cart_lines, cart_lines.c.cart_id == carts.c.id)
    .where(carts.c.owner_id == bindparam("buyer_id"))
    .order_by(cart_lines.c.position),
    _to_line,
)
_NEW_LINES = insert_rows(cart_lines.c.cart_id, cart_lines.c.product_id, cart_lines.c.quantity)
_LINE_KEY = [cart_lines.c.cart_id, cart_lines.c.product_id]
_ADD_LINES = Command(
    _NEW_LINES.on_conflict_do_update(
        index_elements=_LINE_KEY,
        set_={"quantity": func.least(cart_lines.c.quantity + _NEW_LINES.excluded.quantity, MAX_QUANTITY)},
    )
)
_SET_QUANTITIES = Command(
    _NEW_LINES.on_conflict_do_update(index_elements=_LINE_KEY, set_={"quantity": _NEW_LINES.excluded.quantity})
)
_TAKEN = sent_rows(cart_lines.c.product_id, cart_lines.c.quantity)
_IS_TAKEN = and_(cart_lines.c.cart_id == bindparam("cart"), cart_lines.c.product_id == _TAKEN.c.product_id)
_REMOVE_TAKEN = delete(cart_lines).where(_IS_TAKEN, cart_lines.c.quantity <= _TAKEN.c.quantity)
_SUBTRACT_LINES = Command(
    update(cart_lines)
    .where(_IS_TAKEN, cart_lines.c.quantity > _TAKEN.c.quantity)
    .values(quantity=cart_lines.c.quantity - _TAKEN.c.quantity)
    .add_cte(_REMOVE_TAKEN.cte("removed"))
)
"""One statement for both: each sees the lines as they were before, so that no line is changed by the two of them."""


class CartReader:
    """Reads carts without locks, in a transaction or without one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find_of_buyer(self, buyer_id: UserId) -> CartId | None:
        """Reads by the unique owner."""
        return await _FIND_OF_BUYER.first(self._connection, buyer_id=buyer_id)

    async def lines(self, cart_id: CartId) -> list[Line]:
        """Returns the lines in the order in which they were added."""
        return await _LINES.all(self._connection, cart=cart_id)

    async def lines_of_buyer(self, buyer_id: UserId) -> list[Line]:
        """Returns the lines of the buyer's cart, found by its unique owner, in the order in which they were added."""
        return await _LINES_OF_BUYER.all(self._connection, buyer_id=buyer_id)


class CartRepository(CartReader):
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        super().__init__(transaction)
        self._transaction = transaction

    async def lock_of_buyer(self, buyer_id: UserId) -> CartId | None:
        """Locks the buyer's cart, found by its unique owner."""
        return await _LOCK_OF_BUYER.first(self._transaction, buyer_id=buyer_id)

    async def ensure_of_buyer(self, buyer_id: UserId, new_id: UUID, at: datetime) -> CartId:
        """Locks the buyer's cart, creating it if needed. The buyer's row must be locked."""
        return await _ENSURE_OF_BUYER.one(self._transaction, buyer_id=buyer_id, new_id=new_id, at=at)

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

    async def add_lines(self, cart_id: CartId, lines: Sequence[Line]) -> None:
        """Adds the quantities to those in the cart, up to MAX_QUANTITY. The cart must be locked."""
        await _ADD_LINES.execute(self._transaction, cart_id=[cart_id] * len(lines), **_columns(lines))

    async def set_quantities(self, cart_id: CartId, lines: Sequence[Line]) -> None:
        """Sets the quantities of the lines, adding lines that are missing. The cart must be locked."""
        await _SET_QUANTITIES.execute(self._transaction, cart_id=[cart_id] * len(lines), **_columns(lines))

    async def subtract_lines(self, cart_id: CartId, lines: Sequence[Line]) -> None:
        """Subtracts the quantities from the cart, which must be locked and hold as much; additional units stay."""
        await _SUBTRACT_LINES.execute(self._transaction, cart=cart_id, **_columns(lines))

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


_FIND_SNAPSHOT = Statement(
    select(cart_drafts.c.lines).where(cart_drafts.c.order_id == bindparam("order_id")),
    lambda row: [Line(ProductId(product), quantity) for product, quantity in row["lines"]],
)
_ADD_SNAPSHOT = Command(insert(cart_drafts).values(order_id=bindparam("order_id"), lines=bindparam("lines")))
_LOCK_KEY = Statement(
    select(idempotency_keys.c.key).where(idempotency_keys.c.resource_id == bindparam("order_id")).with_for_update(),
    lambda row: str(row["key"]),
)


class CartSnapshotRepository:
    """Stores what was in the cart at an idempotency key's first request.

    The cart may change afterwards, what the key orders may not. Its lock is the key's row.
    """

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def find(self, order_id: OrderId) -> list[Line] | None:
        """Reads by primary key."""
        return await _FIND_SNAPSHOT.first(self._transaction, order_id=order_id)

    async def add(self, order_id: OrderId, lines: Sequence[Line]) -> None:
        """Stores a snapshot, which is deleted with its key. The key's row must be locked."""
        stored = [[line.product_id, line.quantity] for line in lines]
        await _ADD_SNAPSHOT.execute(self._transaction, order_id=order_id, lines=stored)

    async def lock_key(self, order_id: OrderId) -> bool:
        """Locks the key, found by its unique resource; returns False if no key stands for this order id any more."""
        return await _LOCK_KEY.first(self._transaction, order_id=order_id) is not None

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


def _columns(lines: Sequence[Line]) -> dict[str, list[int]]:
    """Returns the lines as a prepared statement is sent them: one array for each column."""
    return {
        "product_id": [line.product_id for line in lines],
        "quantity": [line.quantity for line in lines],
    }
