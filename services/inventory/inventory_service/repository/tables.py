"""The tables that the statements use. The migrations create them."""

from chassis.database import tables
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Identity, MetaData, Table, Text, Uuid

metadata = MetaData()

stock = Table(
    "stock",
    metadata,
    Column("product_id", BigInteger, primary_key=True),
    Column("on_hand", BigInteger, nullable=False),
    # The column counts the committed units too, as the release before reads it: its available units are exact.
    Column("reserved", BigInteger, key="held", nullable=False, server_default="0"),
    Column("committed", BigInteger, nullable=False, server_default="0"),
    Column("low_stock_threshold", BigInteger),
    Column("seller_id", BigInteger),
    Column("max_per_order", BigInteger),
    Column("announced", Boolean, nullable=False, server_default="false"),
    Column("revision", BigInteger, nullable=False, server_default="0"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    Column("held_until", DateTime(timezone=True), nullable=False),
    Column("is_cancelled", Boolean, nullable=False, server_default="false"),
    Column("is_shipped", Boolean, nullable=False, server_default="false"),
    # True while stock.committed counts the units. A committed reservation without it is of a release that took the
    # units from on hand at payment: it is fulfilled.
    Column("in_committed", Boolean, nullable=False, server_default="false"),
)

reservation_lines = Table(
    "reservation_lines",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("product_id", BigInteger, primary_key=True),
    Column("quantity", BigInteger, nullable=False),
)

movements = Table(
    "movements",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("product_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("delta", BigInteger, nullable=False),
    Column("on_hand", BigInteger, nullable=False),
    Column("actor_id", BigInteger),
    Column("order_id", Uuid),
    Column("reason", Text),
    Column("adjustment_id", Uuid),
    Column("at", DateTime(timezone=True), nullable=False),
)

tables.outbox(metadata)
tables.outbox_published(metadata)
tables.change_counts(metadata)
tables.inbox(metadata)
tables.idempotency_keys(metadata)
