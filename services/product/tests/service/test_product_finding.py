"""What is searched for is found, in the right order, however it is written."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from product_harness import OTHER_SELLER, Shop
from product_service.domain.search import MAX_CORRECTED, MAX_WORDS
from prometheus_client import REGISTRY
from sqlalchemy import Engine, event


@pytest.fixture(scope="module")
async def shelf(running_service: Shop) -> int:
    """A category of things whose words are used nowhere else."""
    shop = running_service
    category = await shop.category("Shelf to be searched")
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
        await shop.product(category_id=category, name=name, description=description)
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
        ("strasse", None),
        ("straße", "Straße"),
        ("STRAßE", "Straße"),
        ("it's", "Zahnbürste <b>x</b>"),
        ("teeth", "Zahnbürste <b>x</b>"),
        ("<b>x</b>", "Zahnbürste <b>x</b>"),
    ],
)
async def test_what_is_searched_for_comes_first(shop: Shop, shelf: int, q: str, first: str | None) -> None:
    found = await shop.names(category=shelf, q=q)

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
async def test_a_misspelt_word_finds_what_was_meant(shop: Shop, shelf: int, q: str, first: str | None) -> None:
    found = await shop.names(category=shelf, q=q)

    assert found[:1] == ([first] if first else [])


@contextmanager
def similar_words_looked_up() -> Iterator[list[str]]:
    """The statements meanwhile that look for words like another."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "similarity(search_words" in statement:
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("letters", [2, 3, 41])
async def test_a_word_too_short_or_too_long_to_be_corrected_is_not_looked_up(shop: Shop, letters: int) -> None:
    unknown = [chr(ord("a") + number) + "q" * (letters - 1) for number in range(min(MAX_WORDS, 200 // (letters + 1)))]

    with similar_words_looked_up() as statements:
        assert await shop.names(q=" ".join(unknown)) == []
        assert await suggested(shop, " ".join(unknown)) == []

    assert statements == []


async def test_a_search_corrects_four_words_at_most(shop: Shop) -> None:
    words = [f"{chr(ord('a') + number)}velopixx" for number in range(MAX_WORDS)]
    product = await shop.product(name=" ".join(words))

    with similar_words_looked_up() as statements:
        assert await shop.names(q=" ".join(word[:-1] + "q" for word in words)) == []
        assert len(statements) == MAX_CORRECTED
        four_misspelt = [word[:-1] + "q" for word in words[-MAX_CORRECTED:]]
        assert await shop.names(q=" ".join(words[:-MAX_CORRECTED] + four_misspelt)) == [product["name"]]


async def test_a_word_that_is_a_name_is_not_taken_for_another(shop: Shop) -> None:
    category = await shop.category()
    await shop.product(category_id=category, name="Marzipanol", description="")
    await shop.product(category_id=category, name="Marzipanel", description="")

    assert await shop.names(category=category, q="marzipanol") == ["Marzipanol"]
    assert sorted(await shop.names(category=category, q="marzipanul")) == ["Marzipanel", "Marzipanol"]


async def test_a_name_that_is_gone_is_no_word_to_keep_to(shop: Shop) -> None:
    category = await shop.category()
    await shop.product(category_id=category, name="Tapestryx")
    misspelt = await shop.product(category_id=category, name="Tapestrux")
    assert await shop.names(category=category, q="tapestrux") == ["Tapestrux"]

    await shop.http.delete(f"/api/v1/products/{misspelt['id']}", headers=shop.seller)

    assert await shop.names(category=category, q="tapestrux") == ["Tapestryx"]


async def test_the_name_itself_comes_before_names_with_it_and_these_before_descriptions(shop: Shop, shelf: int) -> None:
    assert await shop.names(category=shelf, q="ristretto") == [
        "Ristretto",
        "Ristretto glass",
        "Glass for a long drink",
        "Kettle",
    ]
    assert await shop.names(category=shelf, q="ristretto glass") == ["Ristretto glass", "Glass for a long drink"]


async def test_a_search_can_be_sorted_otherwise(shop: Shop, shelf: int) -> None:
    newest = await shop.names(category=shelf, q="ristretto", sort="newest")
    by_name = await shop.names(category=shelf, q="ristretto", sort="name")

    assert newest == ["Kettle", "Glass for a long drink", "Ristretto glass", "Ristretto"]
    assert by_name == sorted(newest)


async def test_relevance_without_words_is_the_newest_first(shop: Shop, shelf: int) -> None:
    assert await shop.names(category=shelf, sort="relevance") == await shop.names(category=shelf, sort="newest")


async def test_a_revision_is_found_by_its_new_words_alone(shop: Shop) -> None:
    product = await shop.product(name="Hexaflask", description="dodecaflask")
    body = await shop.body(category_id=product["category_id"], name="Octaflask")

    await shop.http.put(f"/api/v1/products/{product['id']}", json=body, headers=shop.seller)

    assert await shop.names(category=product["category_id"], q="octaflask") == ["Octaflask"]
    assert await shop.names(category=product["category_id"], q="dodecaflask") == []
    await shop.http.delete(f"/api/v1/products/{product['id']}", headers=shop.seller)
    assert await shop.names(category=product["category_id"], q="octaflask") == []


async def test_a_list_is_of_one_seller(shop: Shop) -> None:
    category = await shop.category()
    await shop.product(category_id=category)
    mine = await shop.listed(category=category, seller_id=7)
    theirs = await shop.listed(category=category, seller_id=OTHER_SELLER)

    assert (mine["total"], theirs["total"]) == (1, 0)


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
async def test_no_search_breaks_anything(shop: Shop, shelf: int, path: str, q: str) -> None:
    answer = await shop.http.get(path, params={"q": q})

    assert answer.status_code == (422 if "\x00" in q else 200), answer.text
    if path.endswith("products") and answer.status_code == 200:
        shown = await shop.http.get(path, params={"q": q, "sort": "popular", "facets": "true", "category": shelf})
        assert shown.status_code == 200


async def test_searches_are_counted_by_their_outcome(shop: Shop, shelf: int) -> None:
    def counted() -> list[float]:
        return [
            REGISTRY.get_sample_value("product_searches_total", {"outcome": outcome}) or 0.0
            for outcome in ("as_written", "corrected", "nothing")
        ]

    before = counted()
    for q in ("ristretto", "ristreto", "nowhere at all"):
        await shop.listed(q=q, category=shelf)

    assert [after - was for after, was in zip(counted(), before, strict=True)] == [1, 1, 1]


async def suggested(shop: Shop, q: str, **query: Any) -> list[str]:
    answer = await shop.http.get("/api/v1/products/suggest", params={"q": q, **query})
    assert answer.status_code == 200, answer.text
    return [suggestion["text"] for suggestion in answer.json()["data"]]


async def test_suggestions_begin_as_it_is_written_and_then_have_the_words(shop: Shop) -> None:
    category = await shop.category()
    for name in ("Wombat lamp", "wombat LAMP", "Wombat chair", "Small wombat", "Lamp, wombatish"):
        await shop.product(category_id=category, name=name, description="")
    await shop.execute("UPDATE products SET orders_count = 5 WHERE name = 'Wombat lamp'")

    assert (await suggested(shop, "womb"))[:2] == ["Wombat lamp", "Wombat chair"]
    assert set(await suggested(shop, "womb")) == {"Wombat lamp", "Wombat chair", "Small wombat", "Lamp, wombatish"}
    assert await suggested(shop, "womb", limit=1) == ["Wombat lamp"]
    assert await suggested(shop, "wombat ch") == ["Wombat chair"]
    assert await suggested(shop, "lamp wom") == ["Wombat lamp", "Lamp, wombatish"]


async def test_a_misspelt_word_is_suggested_as_it_is_meant(shop: Shop) -> None:
    await shop.product(name="Pangolin scales")

    assert await suggested(shop, "pangloin") == ["Pangolin scales"]
    assert await suggested(shop, "scales pangolim") == ["Pangolin scales"]


async def test_what_is_not_sold_is_not_suggested(shop: Shop) -> None:
    product = await shop.product(name="Axolotl tank")
    assert await suggested(shop, "axol") == ["Axolotl tank"]

    await shop.http.delete(f"/api/v1/products/{product['id']}", headers=shop.seller)

    assert await suggested(shop, "axol") == []


@pytest.mark.parametrize(
    "query", [{}, {"q": "x" * 201}, {"q": "a", "limit": 0}, {"q": "a", "limit": 21}, {"q": "a\x00"}]
)
async def test_a_bad_request_for_suggestions_is_refused(shop: Shop, query: dict[str, Any]) -> None:
    answer = await shop.http.get("/api/v1/products/suggest", params=query)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


async def test_words_of_products_that_are_added_at_once_are_all_learnt(shop: Shop) -> None:
    category = await shop.category()
    words = ["quokkafan", "numbatfan", "bilbyfans", "dunnartfan"]
    bodies = [
        await shop.body(category_id=category, name=" ".join(words if turn % 2 else words[::-1])) for turn in range(12)
    ]

    answers = await asyncio.gather(
        *(shop.http.post("/api/v1/products", json=body, headers=shop.seller) for body in bodies)
    )

    assert {answer.status_code for answer in answers} == {201}
    assert len(await shop.names(category=category, q="quokafan dunartfan")) == 12
