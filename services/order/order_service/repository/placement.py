"""Statements of placing an order: what it depends on, read at one moment, and the idempotency keys of orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis.database import idempotency
from chassis.database.idempotency import Claim
from chassis.database.statements import AutocommitConnection, Connection, Record, Statement
from chassis.types.ids import OrderId, ProductId, UserId
from sqlalchemy import BigInteger, ColumnElement, Select, and_, bindparam, delete, exists, func, literal, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.addresses import Address, AddressId
from order_service.domain.items import Line
from order_service.domain.open_orders import OpenOrders
from order_service.repository.orders import open_orders_columns, to_open_orders
from order_service.repository.tables import (
    addresses,
    buyers,
    cart_drafts,
    cart_lines,
    carts,
    idempotency_keys,
    orders,
)


@dataclass(frozen=True, slots=True)
class PlacementState:
    """What placing an order depends on.

    `held` is what the key stands for already, with the `snapshot` of the cart at its first request, if that ordered the
    cart. `address` is the address that was asked for, if the buyer has it.
    """

    held: Claim | None
    is_stored: bool
    snapshot: Sequence[Line] | None
    cart: Sequence[Line]
    is_buyer_erased: bool
    address: Address | None
    open_orders: OpenOrders


def _select_state() -> Select[Any]:
    """Returns the statement that reads a PlacementState, which is one row.

    It reads by primary keys, unique owners and resources, and along orders_of_a_buyer.
    """
    buyer_id: ColumnElement[int] = bindparam("buyer_id", type_=BigInteger)
    is_own_key = and_(idempotency_keys.c.owner_id == buyer_id, idempotency_keys.c.key == bindparam("key"))
    held = select(idempotency_keys.c.resource_id, idempotency_keys.c.fingerprint).where(is_own_key).cte("held")
    one_row = select(literal(1).label("one")).subquery()
    snapshot = select(cart_drafts.c.lines).where(cart_drafts.c.order_id == held.c.resource_id)
    is_erased = exists().where(buyers.c.id == buyer_id, buyers.c.erased_at.is_not(None))
    address = select(addresses.c.address).where(
        addresses.c.id == bindparam("address_id"), addresses.c.buyer_id == buyer_id
    )
    return select(
        held.c.resource_id,
        held.c.fingerprint,
        exists().where(orders.c.id == held.c.resource_id).label("is_stored"),
        snapshot.scalar_subquery().label("snapshot"),
        _cart_of(buyer_id).label("cart"),
        is_erased.label("is_buyer_erased"),
        address.scalar_subquery().label("address"),
        *open_orders_columns(),
    ).select_from(one_row.outerjoin(held, true()))


def _cart_of(buyer_id: ColumnElement[int]) -> ColumnElement[Any]:
    """Returns the lines of the buyer's cart as JSON: pairs of product and quantity, as a snapshot is stored."""
    pair = func.json_build_array(cart_lines.c.product_id, cart_lines.c.quantity)
    return (
        select(func.json_agg(aggregate_order_by(pair, cart_lines.c.position)))
        .join_from(carts, cart_lines, cart_lines.c.cart_id == carts.c.id)
        .where(carts.c.owner_id == buyer_id)
        .scalar_subquery()
    )


def _to_state(row: Record) -> PlacementState:
    return PlacementState(
        held=None if row["resource_id"] is None else Claim(row["resource_id"], row["fingerprint"]),
        is_stored=row["is_stored"],
        snapshot=None if row["snapshot"] is None else _lines(row["snapshot"]),
        cart=_lines(row["cart"] or []),
        is_buyer_erased=row["is_buyer_erased"],
        address=None if row["address"] is None else Address(**row["address"]),
        open_orders=to_open_orders(row),
    )


def _lines(pairs: Sequence[tuple[int, int]]) -> Sequence[Line]:
    return [Line(ProductId(product), quantity) for product, quantity in pairs]


def _claim_with_snapshot() -> Select[Any]:
    """Returns the statement that claims a key, with a snapshot of the cart if `lines` has one.

    It returns the id of the order, or no row if the key is claimed already.
    """
    claimed = (
        insert(idempotency_keys)
        .values({column: bindparam(column.key) for column in idempotency_keys.c})
        .on_conflict_do_nothing()
        .returning(idempotency_keys.c.resource_id)
        .cte("claimed")
    )
    lines = bindparam("lines", type_=cart_drafts.c.lines.type)
    snapshot = insert(cart_drafts).from_select(
        [cart_drafts.c.order_id, cart_drafts.c.lines], select(claimed.c.resource_id, lines).where(lines.is_not(None))
    )
    return select(claimed.c.resource_id).add_cte(snapshot.cte("snapshot"))


_STATE = Statement(_select_state(), _to_state)
_CLAIM = Statement(_claim_with_snapshot(), lambda row: OrderId(row["resource_id"]))
_LOCK_KEY = Statement(
    select(idempotency_keys.c.key).where(idempotency_keys.c.resource_id == bindparam("order_id")).with_for_update(),
    lambda row: str(row["key"]),
)


async def read_state(
    connection: Connection, buyer_id: UserId, key: idempotency.Key | None, address_id: AddressId | None, at: datetime
) -> PlacementState:
    """Returns what an order of the buyer depends on at this moment, without a lock. Without a key nothing is held."""
    return await _STATE.one(connection, buyer_id=buyer_id, key=key, address_id=address_id, at=at)


async def claim_key(
    connection: AutocommitConnection,
    buyer_id: UserId,
    key: idempotency.Key,
    claim: Claim,
    snapshot: Sequence[Line] | None,
    at: datetime,
) -> bool:
    """Claims a key for an order, with what the order takes from the cart, and commits.

    The cart may change afterwards, what the key orders may not. Returns False if the key is claimed already. Waits for
    a concurrent claim of the key.
    """
    claimed = await _CLAIM.first(
        connection,
        owner_id=buyer_id,
        key=key,
        fingerprint=claim.fingerprint,
        resource_id=claim.resource_id,
        created_at=at,
        lines=None if snapshot is None else [[line.product_id, line.quantity] for line in snapshot],
    )
    return claimed is not None


class OrderKeyRepository:
    """The idempotency keys of orders, each with a snapshot of the cart if it ordered the cart."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def lock(self, order_id: OrderId) -> bool:
        """Locks the key, found by its unique resource; returns False if no key stands for this order id any more."""
        return await _LOCK_KEY.first(self._transaction, order_id=order_id) is not None

    async def release(self, order_id: OrderId) -> None:
        """Deletes the key with its snapshot, so that it may stand for another order. Its row must be locked."""
        await self._transaction.execute(delete(idempotency_keys).where(idempotency_keys.c.resource_id == order_id))
