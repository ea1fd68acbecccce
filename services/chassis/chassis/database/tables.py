"""The tables that services have of the chassis: for their metadata, and for the migrations that make them."""

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
    """See chassis.messaging.outbox."""
    return Table(
        "outbox",
        metadata,
        Column("sequence", BigInteger, Identity(), primary_key=True),
        Column("id", Uuid, nullable=False),
        Column("type", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def inbox(metadata: MetaData) -> Table:
    """See chassis.messaging.inbox."""
    return Table(
        "inbox",
        metadata,
        Column("event_id", Uuid, primary_key=True),
        Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def idempotency_keys(metadata: MetaData) -> Table:
    """See chassis.idempotency."""
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
