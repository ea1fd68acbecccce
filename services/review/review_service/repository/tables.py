"""The tables as the queries see them; the migrations make them."""

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
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

ratings = Table(
    "ratings",
    metadata,
    Column("product_id", BigInteger, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("sum", BigInteger, nullable=False),
)
