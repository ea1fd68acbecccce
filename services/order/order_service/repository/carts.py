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
from chassis.database.statements import Connection, Record, Statement, sent_rows
from chassis.types.ids import ProductId, UserId
from sqlalchemy import ColumnElement, Uuid, and_, bindparam, delete, func, literal, select, union_all, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.carts import MAX_QUANTITY, CartId, CartToken
from order_service.domain.items import Line
from order_service.repository.buyers import lock_buyer
from order_service.repository.tables import cart_keys, cart_lines, carts


def _to_cart_id(row: Record) -> CartId:
    return CartId(row["id"])


def _to_line(row: Record) -> Line:
    return Line(ProductId(row["product_id"]), row["quantity"])


_LOCK_OF_BUYER = Statement(
    select(carts.c.id).where(carts.c.owner_id == bindparam("buyer_id")).with_for_update(), _to_cart_id
)
_LOCKED_BUYER = lock_buyer().cte("buyer")
_NEW_CART = insert(carts).from_select(
    [carts.c.id, carts.c.owner_id, carts.c.touched_at],
    select(bindparam("new_id", type_=Uuid), _LOCKED_BUYER.c.id, bindparam("at", type_=carts.c.touched_at.type)).where(
        _LOCKED_BUYER.c.erased_at.is_(None)
    ),
)
_ENSURE_OF_BUYER = Statement(
    _NEW_CART.on_conflict_do_update(
        index_elements=[carts.c.owner_id], set_={"touched_at": _NEW_CART.excluded.touched_at}
    ).returning(carts.c.id),
    _to_cart_id,
)
"""The cart is inserted for the buyer that the statement has locked: so it is always locked after the buyer."""
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
_SENT_LINES = sent_rows(cart_lines.c.product_id, cart_lines.c.quantity)
_CART = bindparam("cart", type_=Uuid)
_NEW_LINES = insert(cart_lines).from_select(
    [cart_lines.c.cart_id, cart_lines.c.product_id, cart_lines.c.quantity], select(_CART, *_SENT_LINES.c)
)
_SUM_OF_QUANTITIES = func.least(cart_lines.c.quantity + _NEW_LINES.excluded.quantity, MAX_QUANTITY)


def _changing_lines(quantity: ColumnElement[int]) -> Statement[Line]:
    """Returns the statement that stores lines, with this quantity where the cart has one, and returns the whole cart.

    What it stores is not visible to itself: to the lines that it has changed it adds those that it leaves alone.
    """
    changed = (
        _NEW_LINES.on_conflict_do_update(
            index_elements=[cart_lines.c.cart_id, cart_lines.c.product_id], set_={"quantity": quantity}
        )
        .returning(cart_lines.c.product_id, cart_lines.c.quantity, cart_lines.c.position)
        .cte("changed")
    )
    unchanged = select(cart_lines.c.product_id, cart_lines.c.quantity, cart_lines.c.position).where(
        cart_lines.c.cart_id == _CART, cart_lines.c.product_id.not_in(select(changed.c.product_id))
    )
    lines = union_all(select(changed), unchanged).subquery()
    return Statement(select(lines.c.product_id, lines.c.quantity).order_by(lines.c.position), _to_line)


_ADD_LINES = _changing_lines(_SUM_OF_QUANTITIES)
_SET_QUANTITIES = _changing_lines(_NEW_LINES.excluded.quantity)
_IS_SENT = and_(cart_lines.c.cart_id == _CART, cart_lines.c.product_id == _SENT_LINES.c.product_id)
_REMOVED = (
    delete(cart_lines)
    .where(_IS_SENT, cart_lines.c.quantity == _SENT_LINES.c.quantity)
    .returning(cart_lines.c.product_id)
    .cte("removed")
)
_REDUCED = (
    update(cart_lines)
    .where(_IS_SENT, cart_lines.c.quantity > _SENT_LINES.c.quantity)
    .values(quantity=cart_lines.c.quantity - _SENT_LINES.c.quantity)
    .returning(cart_lines.c.product_id)
    .cte("reduced")
)
_SUBTRACT_LINES = Statement(union_all(select(_REMOVED), select(_REDUCED)), lambda row: ProductId(row["product_id"]))
"""One statement for both: each sees the lines as they were before, so that no line is changed by the two of them."""


class CartReader:
    """Reads carts without locks, in a transaction or without one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

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

    async def ensure_of_buyer(self, buyer_id: UserId, new_id: UUID, at: datetime) -> CartId | None:
        """Locks the buyer's row and then the buyer's cart, creating what is missing.

        Returns None if the buyer was erased: then nothing may be stored for them.
        """
        return await _ENSURE_OF_BUYER.first(self._transaction, buyer_id=buyer_id, new_id=new_id, at=at)

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

    async def add_lines(self, cart_id: CartId, lines: Sequence[Line]) -> list[Line]:
        """Adds the quantities to those in the cart, up to MAX_QUANTITY, and returns its lines, as `lines` does.

        The cart must be locked.
        """
        return await _ADD_LINES.all(self._transaction, cart=cart_id, **_columns(lines))

    async def set_quantities(self, cart_id: CartId, lines: Sequence[Line]) -> list[Line]:
        """Sets the quantities of the lines, adding lines that are missing, and returns the lines of the cart.

        The cart must be locked.
        """
        return await _SET_QUANTITIES.all(self._transaction, cart=cart_id, **_columns(lines))

    async def subtract_lines(self, cart_id: CartId, lines: Sequence[Line]) -> bool:
        """Subtracts the quantities from the cart, which must be locked; additional units stay.

        Each line is of another product. Returns False if the cart has less of one: then some may be subtracted, and the
        transaction must be rolled back.
        """
        subtracted = await _SUBTRACT_LINES.all(self._transaction, cart=cart_id, **_columns(lines))
        return len(subtracted) == len(lines)

    async def remove_line(self, cart_id: CartId, product_id: ProductId) -> None:
        """Deletes by primary key. The cart must be locked."""
        await self._transaction.execute(delete(cart_lines).where(_line(cart_id, product_id)))

    async def remove_lines(self, cart_id: CartId) -> None:
        """Deletes all lines of the cart, which must be locked."""
        await self._transaction.execute(delete(cart_lines).where(cart_lines.c.cart_id == cart_id))


_CLAIM_KEY = Statement(
    insert(cart_keys)
    .values({column: bindparam(column.key) for column in cart_keys.c})
    .on_conflict_do_nothing()
    .returning(cart_keys.c.key),
    lambda row: str(row["key"]),
)


class CartKeyRepository:
    """The idempotency keys that additions to carts were sent with. They change only while their cart is locked."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def claim(self, cart_id: CartId, key: idempotency.Key, fingerprint: str, at: datetime) -> bool:
        """Stores the first use of a key. Returns False if the same request used it before.

        The cart must be locked. Raises IdempotencyKeyReused.
        """
        new = await _CLAIM_KEY.first(
            self._transaction, cart_id=cart_id, key=key, fingerprint=fingerprint, created_at=at
        )
        if new is not None:
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
