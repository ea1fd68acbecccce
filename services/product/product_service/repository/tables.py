"""The tables as the queries see them; the migrations make them."""

from sqlalchemy import ARRAY, BigInteger, Column, DateTime, MetaData, Table, Text

metadata = MetaData()

categories = Table(
    "categories",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("name", Text, nullable=False),
)

products = Table(
    "products",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("seller_id", BigInteger, nullable=False),
    Column("category_id", BigInteger),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price_amount", BigInteger, nullable=False),
    Column("price_currency", Text, nullable=False),
    Column("images", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("deleted_at", DateTime(timezone=True)),
)
