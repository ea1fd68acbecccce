"""The tables for the queries; the migrations create them."""

from chassis.database import tables
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("display_name", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("locale", Text, nullable=False),
    Column("phone", Text),
    Column("is_active", Boolean, nullable=False),
    Column("was_admin", Boolean, nullable=False),
    Column("email_verified_at", DateTime(timezone=True)),
    Column("erased_at", DateTime(timezone=True)),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("last_used_at", DateTime(timezone=True), nullable=False),
    Column("user_agent", Text),
)

ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("ended_at", DateTime(timezone=True), nullable=False),
    Column("published_at", DateTime(timezone=True)),
)

mail_requests = Table(
    "mail_requests",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", BigInteger, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    Column("replaced_at", DateTime(timezone=True)),
    Column("replaced_email", Text),
)

devices = Table(
    "devices",
    metadata,
    Column("user_id", BigInteger, primary_key=True),
    Column("network_digest", LargeBinary, primary_key=True),
    Column("program_digest", LargeBinary, primary_key=True),
    Column("first_used_at", DateTime(timezone=True), nullable=False),
    Column("last_used_at", DateTime(timezone=True), nullable=False),
)

login_failures = Table(
    "login_failures",
    metadata,
    Column("address_digest", LargeBinary, primary_key=True),
    Column("account_digest", LargeBinary),
    Column("failures", Integer, nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    Column("locked_until", DateTime(timezone=True)),
)

tables.outbox(metadata)
tables.outbox_published(metadata)
tables.change_counts(metadata)
