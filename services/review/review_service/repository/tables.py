"""The tables that the statements use. The migrations create them."""

from chassis.database import tables
from sqlalchemy import BigInteger, Column, DateTime, MetaData, SmallInteger, Table, Text

metadata = MetaData()

reviews = Table(
    "reviews",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("product_id", BigInteger, nullable=False),
    Column("author_id", BigInteger, nullable=False),
    Column("rating", SmallInteger, nullable=False),
    Column("title", Text),
    Column("text", Text),
    Column("status", Text, nullable=False),
    Column("moderation_reason", Text),
    Column("helpful_count", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("removed_at", DateTime(timezone=True)),
)

ratings = Table(
    "ratings",
    metadata,
    Column("product_id", BigInteger, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("sum", BigInteger, nullable=False),
    *(Column(f"stars_{stars}", BigInteger, nullable=False) for stars in range(1, 6)),
    Column("revision", BigInteger, nullable=False),
)

helpful_votes = Table(
    "helpful_votes",
    metadata,
    Column("review_id", BigInteger, primary_key=True),
    Column("user_id", BigInteger, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

erased_users = Table(
    "erased_users",
    metadata,
    Column("user_id", BigInteger, primary_key=True),
    Column("erased_at", DateTime(timezone=True), nullable=False),
)

tables.outbox(metadata)
tables.outbox_published(metadata)
tables.change_counts(metadata)
tables.inbox(metadata)
