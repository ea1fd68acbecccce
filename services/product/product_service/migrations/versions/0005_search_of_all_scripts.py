"""Adds search in all scripts, names sorted as people do, and prices by currency.

It only adds, so the previous release keeps working on this schema: its column `search`, its functions and its indexes
stay for the release after this one to drop. A trigger maintains the new columns, also for products that the previous
release writes. Existing products are indexed in batches, about a minute for each 100,000 of them, while the shop runs.
"""

from alembic import op
from chassis.database.migrations import outside_transaction
from sqlalchemy import text

revision = "0005"
down_revision = "0004"
oldest_code = "0004"

_BATCH = 1_000
_ACCENTS = r"[\u0300-\u036f]"
_PUNCTUATION = "[!-/:-@[-`{-~]+"
_BLANKS = r"[\t-\r\u001c- \u0085\u1680\u2028\u2029]+"
_LETTERS = ("đðøłħıĸŋŧƀɓƃƈɖɗƌɛəǝɔƒɠǥƙƚɲƞƥƭʈʋƴƶȥɨʉɇɉɍɏς", "ddolhiqntbbbcdddeeeofggklnnpttvyzziuejryσ")  # noqa: RUF001 - they look like others
_UNSPACED = (
    r"[\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecf\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u1780-\u17d3\u2e80-\u2fdf\u3005-\u3007"
    r"\u3041-\u309f\u30a1-\u30fa\u30fc-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def upgrade() -> None:
    for statement in (_FOLD_TEXT, _BIGRAMS, _SEARCH_TERMS, _COLUMNS, *_TRIGGERS):
        op.execute(statement)
    with outside_transaction():
        _index_existing_products()
        for name, definition in _INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # what an interrupted attempt left
            op.execute(f"CREATE INDEX CONCURRENTLY {name} {definition}")
        op.execute("ALTER TABLE products VALIDATE CONSTRAINT products_are_indexed")


def _index_existing_products() -> None:
    """Indexes all products, in the order of their ids, and adds their words to the vocabulary."""
    last = 0
    while True:
        found = op.get_bind().execute(_INDEX_BATCH, {"after": last, "batch": _BATCH}).scalar()
        if found is None:
            break
        last = found
    op.execute("ALTER TABLE products DROP CONSTRAINT IF EXISTS products_are_indexed")
    op.execute(
        "ALTER TABLE products ADD CONSTRAINT products_are_indexed"
        " CHECK (plain_name IS NOT NULL AND terms IS NOT NULL) NOT VALID"
    )


# `Straße 咖啡Çay` becomes `strasse 咖啡 cay`, as product_service.domain.folding says, whatever the collation of the
# database: in `C`, only ASCII has lower case.
_FOLD_TEXT = rf"""
CREATE OR REPLACE FUNCTION fold_text(said text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN btrim(regexp_replace(
    CASE WHEN octet_length(said) = char_length(said)
    THEN regexp_replace(lower(said COLLATE "und-x-icu"), '{_PUNCTUATION}', ' ', 'g')
    ELSE regexp_replace(regexp_replace(
        replace(replace(replace(replace(translate(
            regexp_replace(lower(normalize(said, NFKD) COLLATE "und-x-icu"), '{_ACCENTS}', '', 'g'),
            '{_LETTERS[0]}', '{_LETTERS[1]}'
        ), 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'),
        '{_PUNCTUATION}', ' ', 'g'), '({_UNSPACED}+)', ' \1 ', 'g') END,
    '{_BLANKS}', ' ', 'g'
))
"""

# Each letter of a script without spaces becomes a lexeme together with the next one; the last letter of a run, a lexeme
# by itself. So each part of two letters or more is a phrase of lexemes, and a single letter is a prefix.
_BIGRAMS = rf"""
CREATE OR REPLACE FUNCTION search_bigrams(folded text, weight text) RETURNS tsvector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN folded COLLATE "C" ~ '{_UNSPACED}' THEN (
    SELECT string_agg(CASE WHEN next ~ '{_UNSPACED}' THEN letter || next ELSE letter END
                      || ':' || least(place, 16383) || weight, ' ')::tsvector
    FROM (
        SELECT letter COLLATE "C" AS letter, place, lead(letter COLLATE "C") OVER (ORDER BY place) AS next
        FROM unnest(string_to_array(folded, NULL)) WITH ORDINALITY AS letters (letter, place)
    ) AS pairs
    WHERE letter ~ '{_UNSPACED}'
) ELSE '' END
"""  # noqa: S608 - constants

# `simple` keeps each word as written, including stop words and brands; the language adds its stem, so that in English
# `cups` finds `cup`. Punctuation of a name becomes separate lexemes, for searches that consist of nothing else.
_SEARCH_TERMS = """
CREATE OR REPLACE FUNCTION search_terms(language regconfig, name text, description text) RETURNS tsvector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    WITH plain AS MATERIALIZED (SELECT fold_text(name) AS n, fold_text(description) AS d)
    SELECT search_bigrams(n, 'A') || search_bigrams(d, 'C')
        || setweight(to_tsvector('simple', n), 'A') || setweight(to_tsvector(language, n), 'B')
        || setweight(to_tsvector('simple', d), 'C') || setweight(to_tsvector(language, d), 'D')
        || array_to_tsvector(string_to_array(regexp_replace(name, '[^!-/:-@[-`{-~]', '', 'g'), NULL))
    FROM plain
)
"""

_COLUMNS = """
ALTER TABLE products
    ADD COLUMN IF NOT EXISTS search_language text NOT NULL DEFAULT 'english',
    ADD COLUMN IF NOT EXISTS plain_name text,
    ADD COLUMN IF NOT EXISTS terms tsvector
"""

_TRIGGERS = (
    """
    CREATE OR REPLACE FUNCTION index_product() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.plain_name := fold_text(NEW.name);
        NEW.terms := search_terms(NEW.search_language::regconfig, NEW.name, NEW.description);
        RETURN NEW;
    END $$
    """,
    "CREATE OR REPLACE TRIGGER index_product BEFORE INSERT OR UPDATE OF name, description, search_language ON products"
    " FOR EACH ROW EXECUTE FUNCTION index_product()",
    """
    CREATE OR REPLACE FUNCTION remember_search_words() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO search_words
        SELECT word FROM unnest(tsvector_to_array(to_tsvector('simple', NEW.plain_name))) AS word
        WHERE char_length(word) BETWEEN 3 AND 40
        ORDER BY word
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$
    """,
)

_INDEX_BATCH = text("""
    WITH batch AS MATERIALIZED (
        SELECT id FROM products WHERE id > :after ORDER BY id LIMIT :batch FOR NO KEY UPDATE
    ), indexed AS (
        UPDATE products SET search_language = search_language FROM batch WHERE products.id = batch.id
        RETURNING products.id, products.plain_name
    ), words AS (
        INSERT INTO search_words
        SELECT DISTINCT word FROM indexed, unnest(tsvector_to_array(to_tsvector('simple', plain_name))) AS word
        WHERE char_length(word) BETWEEN 3 AND 40
        ORDER BY word
        ON CONFLICT DO NOTHING
    )
    SELECT max(id) FROM indexed
""")

_INDEXES = {
    "products_by_term": "ON products USING gin (terms) WHERE deleted_at IS NULL",
    "products_by_folded_name": "ON products (plain_name text_pattern_ops) WHERE deleted_at IS NULL",
    "products_in_order_of_names": 'ON products (name COLLATE "und-x-icu", id) WHERE deleted_at IS NULL',
    "products_by_price_in_currency": "ON products (price_currency, price_amount, id) WHERE deleted_at IS NULL",
}
