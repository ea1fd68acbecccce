"""Search finds products by their words, in any spelling, and the best match first."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from product_harness import OTHER_SELLER, Catalogue
from product_service.domain.search_terms import MAX_CORRECTED_WORDS, MAX_WORDS
from prometheus_client import REGISTRY
from sqlalchemy import Engine, event


@pytest.fixture(scope="module")
async def shelf(running_service: Catalogue) -> int:
    """A category of products with words that no other product has."""
    catalogue = running_service
    category = await catalogue.add_category("Shelf")
    things = {
        "Ristretto": "The short one",
        "Ristretto glass": "Thin",
        "Glass for a long drink": "Also for ristretto, ristretto and again ristretto: ristretto glass, ristretto glass",
        "Kettle": "Boils what a ristretto needs",
        "Brûlée torch": "For the crème",
        "The Who: Quadrophenia": "Vinyl",
        "Saucers, stacked": "Set of six",
        "USB-C cable 1.5m (100%)": "Braided",
        "咖啡机": "A machine",
        "Straße": "A street",
        "Zahnbürste <b>x</b>": "It's for teeth",
    }
    for name, description in things.items():
        await catalogue.add_product(category_id=category, name=name, description=description)
    return category


@pytest.mark.parametrize(
    ("q", "first"),
    [
        ("ristretto", "Ristretto"),
        ("RISTRETTO glass", "Ristretto glass"),
        ("glass ristretto", "Ristretto glass"),
        ("ristretto gl", "Ristretto glass"),
        ("kettles", "Kettle"),
        ("boiling", "Kettle"),
        ("saucer", "Saucers, stacked"),
        ("brulee", "Brûlée torch"),
        ("BRÛLÉE", "Brûlée torch"),
        ("bru\u0302le\u0301e", "Brûlée torch"),
        ("creme torch", "Brûlée torch"),
        ("the who", "The Who: Quadrophenia"),
        ("usb c", "USB-C cable 1.5m (100%)"),
        ("usb-c", "USB-C cable 1.5m (100%)"),
        ("1.5m", "USB-C cable 1.5m (100%)"),
        ("100%", "USB-C cable 1.5m (100%)"),
        ("%", "USB-C cable 1.5m (100%)"),
        ("咖啡", "咖啡机"),
        ("strasse", "Straße"),
        ("straße", "Straße"),
        ("STRAßE", "Straße"),
        ("it's", "Zahnbürste <b>x</b>"),
        ("teeth", "Zahnbürste <b>x</b>"),
        ("<b>x</b>", "Zahnbürste <b>x</b>"),
    ],
)
async def test_the_best_match_comes_first(catalogue: Catalogue, shelf: int, q: str, first: str | None) -> None:
    found = await catalogue.list_names(category=shelf, q=q)

    assert found[:1] == ([first] if first else [])


@pytest.mark.parametrize(
    ("q", "first"),
    [
        ("ristreto", "Ristretto"),
        ("ristertto", "Ristretto"),
        ("risstrettto", "Ristretto"),
        ("ristretto glas", "Ristretto glass"),
        ("glsas ristretto", "Ristretto glass"),
        ("ketle", "Kettle"),
        ("cattle", None),
        ("quadrofenia", "The Who: Quadrophenia"),
        ("zahnburst", "Zahnbürste <b>x</b>"),
        ("zahnbrüste", "Zahnbürste <b>x</b>"),
    ],
)
async def test_a_misspelt_word_is_corrected(catalogue: Catalogue, shelf: int, q: str, first: str | None) -> None:
    found = await catalogue.list_names(category=shelf, q=q)

    assert found[:1] == ([first] if first else [])


@contextmanager
def recorded_similarity_lookups() -> Iterator[list[str]]:
    """Collects the statements that look up similar words in the vocabulary."""
    statements: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "similarity(search_words" in statement:
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", record)


@pytest.mark.parametrize("letters", [2, 3, 41])
async def test_a_word_too_short_or_too_long_to_be_corrected_is_not_looked_up(
    catalogue: Catalogue, letters: int
) -> None:
    unknown = [chr(ord("a") + number) + "q" * (letters - 1) for number in range(min(MAX_WORDS, 200 // (letters + 1)))]

    with recorded_similarity_lookups() as statements:
        assert await catalogue.list_names(q=" ".join(unknown)) == []
        assert await suggest(catalogue, " ".join(unknown)) == []

    assert statements == []


async def test_a_search_corrects_four_words_at_most(catalogue: Catalogue) -> None:
    words = [f"{chr(ord('a') + number)}velopixx" for number in range(MAX_WORDS)]
    product = await catalogue.add_product(name=" ".join(words))

    with recorded_similarity_lookups() as statements:
        assert await catalogue.list_names(q=" ".join(word[:-1] + "q" for word in words)) == []
        assert len(statements) == MAX_CORRECTED_WORDS
        four_misspelt = [word[:-1] + "q" for word in words[-MAX_CORRECTED_WORDS:]]
        assert await catalogue.list_names(q=" ".join(words[:-MAX_CORRECTED_WORDS] + four_misspelt)) == [product["name"]]


async def test_a_word_of_a_product_name_is_not_corrected(catalogue: Catalogue) -> None:
    category = await catalogue.add_category()
    await catalogue.add_product(category_id=category, name="Marzipanol", description="")
    await catalogue.add_product(category_id=category, name="Marzipanel", description="")

    assert await catalogue.list_names(category=category, q="marzipanol") == ["Marzipanol"]
    assert sorted(await catalogue.list_names(category=category, q="marzipanul")) == ["Marzipanel", "Marzipanol"]


async def test_a_word_of_deleted_products_only_is_corrected(catalogue: Catalogue) -> None:
    category = await catalogue.add_category()
    await catalogue.add_product(category_id=category, name="Tapestryx")
    misspelt = await catalogue.add_product(category_id=category, name="Tapestrux")
    assert await catalogue.list_names(category=category, q="tapestrux") == ["Tapestrux"]

    await catalogue.http.delete(f"/api/v1/products/{misspelt['id']}", headers=catalogue.seller)

    assert await catalogue.list_names(category=category, q="tapestrux") == ["Tapestryx"]


async def test_an_exact_name_comes_before_other_names_and_names_before_descriptions(
    catalogue: Catalogue, shelf: int
) -> None:
    assert await catalogue.list_names(category=shelf, q="ristretto") == [
        "Ristretto",
        "Ristretto glass",
        "Glass for a long drink",
        "Kettle",
    ]
    assert await catalogue.list_names(category=shelf, q="ristretto glass") == [
        "Ristretto glass",
        "Glass for a long drink",
    ]


async def test_search_results_can_be_sorted_by_other_orders(catalogue: Catalogue, shelf: int) -> None:
    newest = await catalogue.list_names(category=shelf, q="ristretto", sort="newest")
    by_name = await catalogue.list_names(category=shelf, q="ristretto", sort="name")

    assert newest == ["Kettle", "Glass for a long drink", "Ristretto glass", "Ristretto"]
    assert by_name == sorted(newest)


async def test_relevance_without_words_is_the_newest_first(catalogue: Catalogue, shelf: int) -> None:
    assert await catalogue.list_names(category=shelf, sort="relevance") == await catalogue.list_names(
        category=shelf, sort="newest"
    )


async def test_a_revised_product_is_found_by_its_new_words_only(catalogue: Catalogue) -> None:
    product = await catalogue.add_product(name="Hexaflask", description="dodecaflask")
    body = await catalogue.product_body(category_id=product["category_id"], name="Octaflask")

    await catalogue.http.put(f"/api/v1/products/{product['id']}", json=body, headers=catalogue.seller)

    assert await catalogue.list_names(category=product["category_id"], q="octaflask") == ["Octaflask"]
    assert await catalogue.list_names(category=product["category_id"], q="dodecaflask") == []
    await catalogue.http.delete(f"/api/v1/products/{product['id']}", headers=catalogue.seller)
    assert await catalogue.list_names(category=product["category_id"], q="octaflask") == []


async def test_a_list_can_be_filtered_by_seller(catalogue: Catalogue) -> None:
    category = await catalogue.add_category()
    await catalogue.add_product(category_id=category)
    own = await catalogue.list_products(category=category, seller_id=7)
    others = await catalogue.list_products(category=category, seller_id=OTHER_SELLER)

    assert (own["total"], others["total"]) == (1, 0)


HOSTILE = [
    "'",
    '"',
    "\\",
    "\\'",
    "' & | ! ( ) : * <->",
    ":*",
    "a:*",
    "a:A",
    "!!!",
    "cup & !saucer",
    "cup | saucer",
    "a <-> b",
    "a <2> b",
    "%_%",
    "\u0000x",
    "\ufffe\uffff",
    "\u202e\u200d",
    "🙂",
    "👩‍👩‍👧‍👦",
    "\u0301\u0301\u0301",
    "ﷺ" * 50,
    "\u0130\u0131\u017f\u212a",
    "ǅ",
    "x" * 200,
    "é" * 200,
    "x " * 100,
    "1e999 -0 0x1F 1.2.3.4 ::1",
    "http://example.com/a?b=c user@example.com",
    "<script>alert(1)</script>",
    "'; DROP TABLE products; --",
    "$$; SELECT pg_sleep(10); $$",
    "{}[]()",
    "\t\n\r",
    "   ",
    "NULL",
    "and or not",
    "the",
    "\u0e01\u0e33 \u0f0b \u1039",
]


@pytest.mark.parametrize("q", HOSTILE, ids=lambda q: ascii(q)[:30])
@pytest.mark.parametrize("path", ["/api/v1/products", "/api/v1/products/suggest"])
async def test_hostile_search_text_is_harmless(catalogue: Catalogue, shelf: int, path: str, q: str) -> None:
    response = await catalogue.http.get(path, params={"q": q})

    assert response.status_code == (422 if "\x00" in q else 200), response.text
    if path.endswith("products") and response.status_code == 200:
        shown = await catalogue.http.get(path, params={"q": q, "sort": "popular", "facets": "true", "category": shelf})
        assert shown.status_code == 200


async def test_searches_are_counted_by_their_outcome(catalogue: Catalogue, shelf: int) -> None:
    def counted() -> list[float]:
        return [
            REGISTRY.get_sample_value("product_searches_total", {"outcome": outcome}) or 0.0
            for outcome in ("as_written", "corrected", "nothing")
        ]

    before = counted()
    for q in ("ristretto", "ristreto", "nowhere at all"):
        await catalogue.list_products(q=q, category=shelf)

    assert [now - earlier for now, earlier in zip(counted(), before, strict=True)] == [1, 1, 1]


async def suggest(catalogue: Catalogue, q: str, **query: Any) -> list[str]:
    response = await catalogue.http.get("/api/v1/products/suggest", params={"q": q, **query})
    assert response.status_code == 200, response.text
    return [suggestion["text"] for suggestion in response.json()["data"]]


async def test_suggestions_are_names_with_the_prefix_then_names_with_the_words(catalogue: Catalogue) -> None:
    category = await catalogue.add_category()
    for name in ("Wombat lamp", "wombat LAMP", "Wombat chair", "Small wombat", "Lamp, wombatish"):
        await catalogue.add_product(category_id=category, name=name, description="")
    await catalogue.execute("UPDATE products SET orders_count = 5 WHERE name = 'Wombat lamp'")

    assert (await suggest(catalogue, "womb"))[:2] == ["Wombat lamp", "Wombat chair"]
    assert set(await suggest(catalogue, "womb")) == {"Wombat lamp", "Wombat chair", "Small wombat", "Lamp, wombatish"}
    assert await suggest(catalogue, "womb", limit=1) == ["Wombat lamp"]
    assert await suggest(catalogue, "wombat ch") == ["Wombat chair"]
    assert await suggest(catalogue, "lamp wom") == ["Lamp, wombatish", "Wombat lamp"]


async def test_suggestions_correct_misspelt_words(catalogue: Catalogue) -> None:
    await catalogue.add_product(name="Pangolin scales")

    assert await suggest(catalogue, "pangloin") == ["Pangolin scales"]
    assert await suggest(catalogue, "scales pangolim") == ["Pangolin scales"]


async def test_deleted_products_are_not_suggested(catalogue: Catalogue) -> None:
    product = await catalogue.add_product(name="Axolotl tank")
    assert await suggest(catalogue, "axol") == ["Axolotl tank"]

    await catalogue.http.delete(f"/api/v1/products/{product['id']}", headers=catalogue.seller)

    assert await suggest(catalogue, "axol") == []


@pytest.mark.parametrize(
    "query", [{}, {"q": "x" * 201}, {"q": "a", "limit": 0}, {"q": "a", "limit": 21}, {"q": "a\x00"}]
)
async def test_an_invalid_request_for_suggestions_is_refused(catalogue: Catalogue, query: dict[str, Any]) -> None:
    response = await catalogue.http.get("/api/v1/products/suggest", params=query)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


async def test_products_that_are_added_concurrently_all_extend_the_vocabulary(catalogue: Catalogue) -> None:
    category = await catalogue.add_category()
    words = ["quokkafan", "numbatfan", "bilbyfans", "dunnartfan"]
    bodies = [
        await catalogue.product_body(category_id=category, name=" ".join(words if turn % 2 else words[::-1]))
        for turn in range(12)
    ]

    responses = await asyncio.gather(
        *(catalogue.http.post("/api/v1/products", json=body, headers=catalogue.seller) for body in bodies)
    )

    assert {response.status_code for response in responses} == {201}
    assert len(await catalogue.list_names(category=category, q="quokafan dunartfan")) == 12
