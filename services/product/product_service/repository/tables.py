"""The tables that the migrations create, and the mapping of violated constraints to domain errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg.exceptions import ForeignKeyViolationError, UniqueViolationError
from chassis.database import tables
from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Computed, DateTime, Double, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.exc import IntegrityError

metadata = MetaData()

categories = Table(
    "categories",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("name", Text, nullable=False),
    Column("parent_id", BigInteger),
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
    Column("group_id", BigInteger),
    Column("options", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("deleted_at", DateTime(timezone=True)),
    Column("search_language", Text, nullable=False),
    Column("plain_name", Text, nullable=False),
    Column("terms", TSVECTOR, nullable=False),
    Column("in_stock", Boolean, nullable=False),
    Column("stock_revision", BigInteger, nullable=False),
    Column("rating_stars", BigInteger, nullable=False),
    Column("rating_count", BigInteger, nullable=False),
    Column("rating_revision", BigInteger, nullable=False),
    Column("rating_average", Double, Computed("rating_stars / rating_count")),
    Column("orders_count", BigInteger, nullable=False),
)
"""The columns from `search_language` on do not come from sellers.

The trigger index_product computes `plain_name` and `terms`; other services report the statistics.
"""
BY_PEOPLE = "und-x-icu"
"""The collation of lists by name: ICU's order for no particular language, whatever the collation of the database."""

search_words = Table("search_words", metadata, Column("word", Text, primary_key=True))

co_purchases = Table(
    "co_purchases",
    metadata,
    Column("product_id", BigInteger, primary_key=True),
    Column("other_id", BigInteger, primary_key=True),
    Column("orders_count", BigInteger, nullable=False),
)

erased_sellers = Table(
    "erased_sellers",
    metadata,
    Column("user_id", BigInteger, primary_key=True),
    Column("received_at", DateTime(timezone=True), nullable=False),
)

tables.outbox(metadata)
tables.outbox_published(metadata)
tables.inbox(metadata)
tables.change_counts(metadata)


@contextmanager
def raise_on_duplicate(domain_error: Exception) -> Iterator[None]:
    """Raises `domain_error` if a statement violates a unique index."""
    with _translate(UniqueViolationError, domain_error):
        yield


@contextmanager
def raise_on_missing_reference(domain_error: Exception) -> Iterator[None]:
    """Raises `domain_error` if a statement violates a foreign key."""
    with _translate(ForeignKeyViolationError, domain_error):
        yield


@contextmanager
def _translate(violation: type[Exception], domain_error: Exception) -> Iterator[None]:
    """Raises `domain_error` in place of the violation. It must end the transaction, which PostgreSQL has aborted."""
    try:
        yield
    except IntegrityError as error:
        if error.orig is not None and isinstance(error.orig.__cause__, violation):
            raise domain_error from error
        raise
