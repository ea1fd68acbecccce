"""The chassis' tables in a service's database, for the service's metadata and for the migrations that create them."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
)


def outbox(metadata: MetaData) -> Table:
    """Adds the table of chassis.messaging.outbox: events that are not yet published.

    `resent_at` is set for an event that was published before and is to be published again.
    """
    return Table(
        "outbox",
        metadata,
        Column("sequence", BigInteger, Identity(), primary_key=True),
        Column("id", Uuid, nullable=False),
        Column("type", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("resent_at", DateTime(timezone=True), nullable=True),
    )


def outbox_published(metadata: MetaData) -> Table:
    """Adds the second table of chassis.messaging.outbox: events that the broker has confirmed, until they are pruned.

    A table of its own keeps the outbox as small as the backlog (docs/adr/0025).
    """
    return Table(
        "outbox_published",
        metadata,
        Column("sequence", BigInteger, primary_key=True, autoincrement=False),
        Column("id", Uuid, nullable=False),
        Column("type", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("recorded_at", DateTime(timezone=True), nullable=False),
        Column("published_at", DateTime(timezone=True), nullable=False),
        Index("outbox_published_by_age", "published_at", "sequence"),
    )


def inbox(metadata: MetaData) -> Table:
    """Adds the table of chassis.messaging.inbox: the ids of events that were received."""
    return Table(
        "inbox",
        metadata,
        Column("event_id", Uuid, primary_key=True),
        Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Index("inbox_by_age", "received_at"),
    )


def idempotency_keys(metadata: MetaData) -> Table:
    """Adds the table of chassis.database.idempotency: the keys that callers have sent."""
    return Table(
        "idempotency_keys",
        metadata,
        Column("owner_id", BigInteger, primary_key=True, autoincrement=False),
        Column("key", Text, primary_key=True),
        Column("fingerprint", Text, nullable=False),
        Column("resource_id", Uuid, nullable=False, unique=True),
        Column("created_at", DateTime(timezone=True), nullable=False),
        Index("idempotency_keys_by_age", "created_at"),
    )


def change_counts(metadata: MetaData) -> Table:
    """Adds the table of chassis.database.change_counts: numbers of changes, whose sum is the change count."""
    return Table("change_counts", metadata, Column("changes", BigInteger, nullable=False))
