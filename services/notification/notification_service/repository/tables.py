"""The tables, as the queries use them. The migrations create them."""

from chassis.database import tables
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, MetaData, Table, Text, Uuid, false
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

notifications = Table(
    "notifications",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("cause", Text, nullable=False),
    Column("user_id", BigInteger, nullable=False),
    Column("channel", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("template_version", Integer, nullable=False),
    Column("facts", JSONB, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("round", Integer, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("waiting_since", DateTime(timezone=True), nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("lease", Uuid),
    Column("sent_at", DateTime(timezone=True)),
    Column("provider_id", Text),
)

attempts = Table(
    "attempts",
    metadata,
    Column("notification_id", Uuid, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("round", Integer, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("outcome", Text),
    Column("error", Text),
    Column("excused", Boolean, nullable=False, server_default=false()),
)

preferences = Table(
    "preferences",
    metadata,
    Column("user_id", BigInteger, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("is_on", Boolean, nullable=False),
)

erased_accounts = Table(
    "erased_accounts",
    metadata,
    Column("user_id", BigInteger, primary_key=True),
    Column("erased_at", DateTime(timezone=True), nullable=False),
)

tables.inbox(metadata)
