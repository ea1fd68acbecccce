"""The tables, for the queries. The migrations create them."""

from sqlalchemy import BigInteger, Column, DateTime, MetaData, Table, Text, Uuid

metadata = MetaData()

samples = Table(
    "samples",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),
)
