"""The tables as the queries see them; the migrations create them. The simulated provider declares its own tables."""

from chassis.database import tables
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Table, Text, Uuid

metadata = MetaData()

orders = Table(
    "orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("cancelled_at", DateTime(timezone=True)),
)

payments = Table(
    "payments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("order_id", Uuid, nullable=False),
    Column("buyer_id", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("intent_id", Text),
    Column("method_ref", Text),
    Column("customer_ref", Text),
    Column("failure_code", Text),
    Column("failure_reason", Text),
    Column("captured", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False),
    Column("refunding", BigInteger, nullable=False),
    Column("pay_until", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("next_check_at", DateTime(timezone=True)),
    Column("attempts", Integer, nullable=False, server_default="0"),
)

refunds = Table(
    "refunds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("payment_id", Uuid, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("requested_by", BigInteger),
    Column("provider_ref", Text),
    Column("failure_reason", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("settled_at", DateTime(timezone=True)),
    Column("next_check_at", DateTime(timezone=True)),
    Column("attempts", Integer, nullable=False, server_default="0"),
)

customers = Table(
    "customers",
    metadata,
    Column("user_id", BigInteger, primary_key=True),
    Column("provider_ref", Text),
    Column("erased_at", DateTime(timezone=True)),
    Column("next_check_at", DateTime(timezone=True)),
    Column("attempts", Integer, nullable=False, server_default="0"),
)

payment_methods = Table(
    "payment_methods",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", BigInteger, nullable=False),
    Column("provider_ref", Text, nullable=False),
    Column("brand", Text, nullable=False),
    Column("last4", Text, nullable=False),
    Column("exp_month", Integer, nullable=False),
    Column("exp_year", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("removed_at", DateTime(timezone=True)),
    Column("next_check_at", DateTime(timezone=True)),
    Column("attempts", Integer, nullable=False, server_default="0"),
)

shop = Table("shop", metadata, Column("id", Uuid, primary_key=True))

webhooks = Table(
    "webhooks",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
)

event_listing = Table(
    "event_listing",
    metadata,
    Column("next_at", DateTime(timezone=True), nullable=False),
    Column("listed_until", DateTime(timezone=True), nullable=False),
    Column("began_at", DateTime(timezone=True)),
    Column("after", Text),
)

order_comparison = Table(
    "order_comparison",
    metadata,
    Column("next_at", DateTime(timezone=True), nullable=False),
    Column("created_at", DateTime(timezone=True)),
    Column("payment_id", Uuid),
)

orphaned_payments = Table(
    "orphaned_payments",
    metadata,
    Column("payment_id", Uuid, primary_key=True),
    Column("found_at", DateTime(timezone=True), nullable=False),
    Column("next_check_at", DateTime(timezone=True), nullable=False),
)

tables.idempotency_keys(metadata)
tables.outbox(metadata)
tables.outbox_published(metadata)
tables.inbox(metadata)
