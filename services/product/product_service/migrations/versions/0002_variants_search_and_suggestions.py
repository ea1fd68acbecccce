"""Adds search, the tree of categories, variants, product statistics, outbox and inbox.

It only adds, so the previous release keeps working on this schema. `search` is computed for every existing product,
which rewrites the table under its lock: about 25 s for each 100,000 products.
"""

from alembic import op
from chassis.database.migrations import create_event_tables

revision = "0002"
down_revision = "0001"
oldest_code = "0001"


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")  # trusted: the owner of the database may create it
    _make_text_searchable()
    op.execute(_PRODUCT_COLUMNS)
    for statement in (*_PRODUCT_INDEXES, *_VOCABULARY, *_CATEGORY_TREE, *_STATISTICS):
        op.execute(statement)
    create_event_tables()


def _make_text_searchable() -> None:
    op.execute(
        # Removes case and accents, and replaces punctuation by blanks: `Café-Crème` becomes `cafe creme`.
        r"""
        CREATE FUNCTION search_text(said text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
        RETURN regexp_replace(
            lower(CASE WHEN octet_length(said) = char_length(said) THEN said
                       ELSE regexp_replace(normalize(said, NFKD), '[\u0300-\u036f]', '', 'g') END),
            '[!-/:-@[-`{-~]+', ' ', 'g'
        )
        """
    )
    op.execute(
        # `simple` keeps each word as written, including stop words and brands; `english` adds its stem, so that `cups`
        # finds `cup`. Punctuation of a name becomes separate lexemes, for searches that consist of nothing else.
        """
        CREATE FUNCTION search_document(name text, description text) RETURNS tsvector
        LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
        RETURN (
            WITH plain AS MATERIALIZED (SELECT search_text(name) AS n, search_text(description) AS d)
            SELECT setweight(to_tsvector('simple', n), 'A') || setweight(to_tsvector('english', n), 'B')
                || setweight(to_tsvector('simple', d), 'C') || setweight(to_tsvector('english', d), 'D')
                || array_to_tsvector(string_to_array(regexp_replace(name, '[^!-/:-@[-`{-~]', '', 'g'), NULL))
            FROM plain
        )
        """
    )


_PRODUCT_COLUMNS = """
ALTER TABLE products
    ADD COLUMN search tsvector NOT NULL GENERATED ALWAYS AS (search_document(name, description)) STORED,
    ADD COLUMN group_id bigint REFERENCES products,
    ADD COLUMN options jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN in_stock boolean NOT NULL DEFAULT false,
    ADD COLUMN stock_revision bigint NOT NULL DEFAULT -1,
    ADD COLUMN rating_stars bigint NOT NULL DEFAULT 0,
    ADD COLUMN rating_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN rating_revision bigint NOT NULL DEFAULT -1,
    ADD COLUMN rating_average double precision NOT NULL GENERATED ALWAYS AS
        (CASE WHEN rating_count > 0 THEN rating_stars::double precision / rating_count ELSE 0 END) STORED,
    ADD COLUMN orders_count bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT options_are_an_object CHECK (jsonb_typeof(options) = 'object')
"""

_PRODUCT_INDEXES = (
    "CREATE INDEX products_by_words ON products USING gin (search) WHERE deleted_at IS NULL",
    "CREATE INDEX products_by_plain_name ON products (search_text(name) text_pattern_ops) WHERE deleted_at IS NULL",
    "CREATE INDEX products_by_rating ON products (rating_average, rating_count, id) WHERE deleted_at IS NULL",
    "CREATE INDEX products_by_popularity ON products (orders_count, id) WHERE deleted_at IS NULL",
    "CREATE INDEX products_by_popularity_in_category ON products (category_id, orders_count, id)"
    " WHERE deleted_at IS NULL",
    "CREATE INDEX products_by_seller ON products (seller_id, id) WHERE deleted_at IS NULL",
    "CREATE INDEX products_by_facet ON products (category_id, price_currency, price_amount, in_stock)"
    " WHERE deleted_at IS NULL",
    "CREATE UNIQUE INDEX variants_differ ON products (group_id, md5(options::text))"
    " WHERE group_id IS NOT NULL AND deleted_at IS NULL",
)

_VOCABULARY = (
    # The vocabulary of product names, for the correction of misspelt words. A trigger maintains it, so that it also
    # has the words of products that the previous release writes.
    "CREATE TABLE search_words (word text PRIMARY KEY)",
    """
    CREATE FUNCTION remember_search_words() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO search_words
        SELECT word FROM unnest(tsvector_to_array(to_tsvector('simple', search_text(NEW.name)))) AS word
        WHERE char_length(word) BETWEEN 3 AND 40
        ORDER BY word
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER names_teach_words AFTER INSERT OR UPDATE OF name ON products"
    " FOR EACH ROW EXECUTE FUNCTION remember_search_words()",
    """
    INSERT INTO search_words
    SELECT DISTINCT word FROM products, unnest(tsvector_to_array(to_tsvector('simple', search_text(name)))) AS word
    WHERE char_length(word) BETWEEN 3 AND 40
    """,
    "CREATE INDEX search_words_by_trigram ON search_words USING gin (word gin_trgm_ops)",
)

_CATEGORY_TREE = (
    "ALTER TABLE categories ADD COLUMN parent_id bigint REFERENCES categories,"
    " ADD CONSTRAINT no_category_is_its_own_parent CHECK (parent_id <> id)",
    "CREATE INDEX categories_by_parent ON categories (parent_id)",
    # Weaker than the index it replaces: names that were refused among roots still are.
    "CREATE UNIQUE INDEX names_are_unique_among_siblings ON categories (coalesce(parent_id, 0), lower(name))",
    "DROP INDEX category_names_are_unique",
)

_STATISTICS = (
    # The number of paid orders that contain both products; each pair is stored in both directions.
    """
    CREATE TABLE co_purchases (
        product_id bigint NOT NULL,
        other_id bigint NOT NULL,
        orders_count bigint NOT NULL CHECK (orders_count > 0),
        PRIMARY KEY (product_id, other_id),
        CHECK (product_id <> other_id)
    )
    """,
    "CREATE INDEX co_purchases_by_count ON co_purchases (product_id, orders_count DESC, other_id)",
    "CREATE TABLE erased_sellers (user_id bigint PRIMARY KEY, received_at timestamptz NOT NULL)",
    "CREATE INDEX erased_sellers_by_age ON erased_sellers (received_at)",
)
