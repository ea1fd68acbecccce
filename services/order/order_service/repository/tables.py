"""The tables as the statements see them; the migrations create them."""

from chassis.database import tables
from sqlalchemy import BigInteger, Column, DateTime, LargeBinary, MetaData, SmallInteger, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()

orders = Table(
    "orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("buyer_id", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("cancel_reason", Text),
    Column("total_amount", BigInteger, nullable=False),
    Column("shipping_amount", BigInteger, nullable=False),
    Column("tax_amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("shipping_address", JSONB(none_as_null=True)),
    Column("carrier", Text),
    Column("tracking_number", Text),
    Column("former_shipments", JSONB, nullable=False, server_default="[]"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("expiry_check_at", DateTime(timezone=True)),
)

order_items = Table(
    "order_items",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("product_id", BigInteger, primary_key=True),
    Column("seller_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("unit_amount", BigInteger, nullable=False),
)

order_history = Table(
    "order_history",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("position", SmallInteger, primary_key=True),
    Column("status", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("by", Text, nullable=False),
)

payments = Table(
    "payments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("order_id", Uuid, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("completed_at", DateTime(timezone=True), nullable=False),
)

manual_payments = Table(
    "manual_payments",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("recorded_by", BigInteger, nullable=False),
    Column("paid_at", DateTime(timezone=True), nullable=False),
)

refunds = Table(
    "refunds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("payment_id", Text, nullable=False),
    Column("order_id", Uuid, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("refunded_at", DateTime(timezone=True), nullable=False),
)

buyers = Table(
    "buyers",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("erased_at", DateTime(timezone=True)),
)

addresses = Table(
    "addresses",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("buyer_id", BigInteger, nullable=False),
    Column("address", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

carts = Table(
    "carts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner_id", BigInteger),
    Column("token_hash", LargeBinary),
    Column("touched_at", DateTime(timezone=True), nullable=False),
)

cart_lines = Table(
    "cart_lines",
    metadata,
    Column("cart_id", Uuid, primary_key=True),
    Column("product_id", BigInteger, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
)

cart_keys = Table(
    "cart_keys",
    metadata,
    Column("cart_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

cart_drafts = Table(
    "cart_drafts",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("lines", JSONB(none_as_null=True), nullable=False),
)

sales = Table(
    "sales",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("product_id", BigInteger, primary_key=True),
    Column("seller_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("sold_at", DateTime(timezone=True), nullable=False),
)

payment_comparison = Table(
    "payment_comparison",
    metadata,
    Column("next_at", DateTime(timezone=True), nullable=False),
    Column("placed_at", DateTime(timezone=True)),
    Column("order_id", Uuid),
)

payment_differences = Table(
    "payment_differences",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("differences", ARRAY(Text), nullable=False),
    Column("found_at", DateTime(timezone=True), nullable=False),
    Column("next_check_at", DateTime(timezone=True), nullable=False),
)

idempotency_keys = tables.idempotency_keys(metadata)
tables.outbox(metadata)
tables.outbox_published(metadata)
tables.inbox(metadata)
