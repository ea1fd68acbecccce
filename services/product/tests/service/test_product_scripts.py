"""Names are found by letters of ASCII, and by parts in scripts that are written without spaces."""

# ruff: noqa: RUF001 - letters that resemble others are what is tested

import sys
import unicodedata

import pytest
from chassis_testing.databases import migrated_database
from chassis_testing.waiting import eventually
from product_harness import Catalogue, another_process, catalogue_with_neighbours
from product_service.domain.folding import fold_text
from product_service.domain.search_terms import SearchLanguage

NAMES = (
    "Kılıç seti",
    "Œuvre d'art",
    "Ærø mug",
    "Þór figurine",
    "Łódź poster",
    "Đặng tea",
    "Weißglas",
    "意式咖啡杯",
    "有田焼コーヒーカップ",
    "แก้วกาแฟเซรามิก",
    "iPhone手机壳",
)


@pytest.fixture(scope="module")
async def shelf(running_service: Catalogue) -> int:
    category = await running_service.add_category("Scripts")
    for name in NAMES:
        await running_service.add_product(category_id=category, name=name, description="")
    return category


@pytest.mark.parametrize(
    ("q", "name"),
    [
        ("kilic", "Kılıç seti"),
        ("Kılıç", "Kılıç seti"),
        ("KILIÇ", "Kılıç seti"),
        ("kilicc", "Kılıç seti"),
        ("oeuvre", "Œuvre d'art"),
        ("Œuvre", "Œuvre d'art"),
        ("aero", "Ærø mug"),
        ("ærø", "Ærø mug"),
        ("thor", "Þór figurine"),
        ("Þór", "Þór figurine"),
        ("lodz", "Łódź poster"),
        ("dang", "Đặng tea"),
        ("weissglas", "Weißglas"),
        ("weißgl", "Weißglas"),
        ("咖啡", "意式咖啡杯"),
        ("咖啡杯", "意式咖啡杯"),
        ("意式 咖啡", "意式咖啡杯"),
        ("杯", "意式咖啡杯"),
        ("意", "意式咖啡杯"),
        ("意式咖非杯", "意式咖啡杯"),
        ("コーヒー", "有田焼コーヒーカップ"),
        ("ｺｰﾋｰ", "有田焼コーヒーカップ"),
        ("カップ", "有田焼コーヒーカップ"),
        ("有田焼 カップ", "有田焼コーヒーカップ"),
        ("กาแฟ", "แก้วกาแฟเซรามิก"),
        ("เซรามิก", "แก้วกาแฟเซรามิก"),
        ("手机", "iPhone手机壳"),
        ("iphone", "iPhone手机壳"),
        ("iphone 手机", "iPhone手机壳"),
        ("iphone手", "iPhone手机壳"),
    ],
)
@pytest.mark.parametrize("way", ["list", "suggest"])
async def test_a_name_is_found(catalogue: Catalogue, shelf: int, q: str, name: str, way: str) -> None:
    if way == "list":
        found = await catalogue.list_names(category=shelf, q=q)
    else:
        response = await catalogue.http.get("/api/v1/products/suggest", params={"q": q})
        found = [suggestion["text"] for suggestion in response.json()["data"]]

    assert found == [name]


@pytest.mark.parametrize("q", ["啡咖", "咖杯", "意式杯", "ーカー", "焼カ"])
async def test_letters_that_do_not_follow_one_another_are_not_found(catalogue: Catalogue, shelf: int, q: str) -> None:
    assert await catalogue.list_names(category=shelf, q=q) == []


async def test_a_name_comes_before_descriptions_in_a_script_without_spaces(catalogue: Catalogue) -> None:
    category = await catalogue.add_category()
    for name, description in (("茶壶套装", ""), ("茶壶", ""), ("杂物", "茶壶和茶壶，还有茶壶"), ("茶叶", "")):
        await catalogue.add_product(category_id=category, name=name, description=description)

    assert await catalogue.list_names(category=category, q="茶壶") == ["茶壶", "茶壶套装", "杂物"]
    assert set(await catalogue.list_names(category=category, q="茶")) == {"茶壶", "茶壶套装", "杂物", "茶叶"}


async def test_the_longest_text_of_different_letters_is_indexed(catalogue: Catalogue) -> None:
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 10_000)))
    category = await catalogue.add_category()
    await catalogue.add_product(category_id=category, name="长", description=letters)

    assert await catalogue.list_names(category=category, q=letters[-9:]) == ["长"]


async def test_the_database_folds_every_character_as_a_query_is_folded(catalogue: Catalogue) -> None:
    assigned = (chr(n) for n in range(1, sys.maxunicode) if unicodedata.category(chr(n)) not in ("Cs", "Cn", "Co"))
    texts = [f"A{character}B c{character} 茶{character}" for character in assigned]

    folded = await catalogue.rows("SELECT said, fold_text(said) FROM unnest($1::text[]) AS said", texts)

    assert len(folded) > 100_000
    assert [
        (said, by_database, fold_text(said)) for said, by_database in folded if by_database != fold_text(said)
    ] == []


async def test_a_change_of_the_language_indexes_all_products_again() -> None:
    async with migrated_database("product_service") as database, catalogue_with_neighbours(database) as english:
        for name in ("Häuser aus Holz", "Wooden houses"):
            await english.add_product(name=name, description="")
        assert await english.list_names(q="housing") == ["Wooden houses"]

        async with another_process(english, search_language=SearchLanguage.GERMAN) as german:
            await eventually(lambda: is_indexed(german, SearchLanguage.GERMAN))
            await german.add_product(name="Haustür", description="alle Häuser")

            assert await german.list_names(q="hauses") == ["Häuser aus Holz", "Haustür"]
            assert await german.list_names(q="housing") == []
            assert await is_indexed(german, SearchLanguage.GERMAN)


async def is_indexed(catalogue: Catalogue, language: SearchLanguage) -> bool:
    return await catalogue.rows("SELECT FROM products WHERE search_language <> $1 LIMIT 1", language) == []
