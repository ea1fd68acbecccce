"""Lists show all matching products, once and in order, and count them correctly."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from chassis_testing.databases import migrated_database
from hypothesis import given, settings
from hypothesis import strategies as st
from product_harness import Catalogue, catalogue_with_neighbours
from product_service.domain.search import PRICE_STEPS


@dataclass(frozen=True)
class Item:
    id: int
    category: int
    name: str
    price: int
    currency: str
    in_stock: bool
    seller: int
    rating: float
    ratings: int
    orders: int
    age: int


@dataclass(frozen=True)
class Market:
    """Forty products in a tree of categories, as the database has them."""

    root: int
    names: dict[int, str]
    parents: dict[int, int | None]
    items: list[Item]

    def is_below(self, category: int | None, ancestor: int) -> bool:
        while category is not None and category != ancestor:
            category = self.parents[category]
        return category is not None


WORDS = ("red", "green", "mug", "plate", "bowl")


@pytest.fixture(scope="module")
async def market(running_service: Catalogue) -> AsyncIterator[Market]:
    catalogue, seed = running_service, 2025
    print(f"seed {seed}")  # noqa: T201 - shown where a test fails
    chance = random.Random(seed)
    root = await catalogue.add_category("Market")
    left, right = await catalogue.add_category("Left", root), await catalogue.add_category("Right", root)
    far = await catalogue.add_category("Far left", left)
    parents = {root: None, left: root, right: root, far: left}
    names = {root: "Market", left: "Left", right: "Right", far: "Far left"}
    items = []
    for age in range(40):
        ratings = chance.choice([0, 0, 1, 2, 5])
        stars = sum(chance.randint(1, 5) for _ in range(ratings))
        name = "marketware " + " ".join(chance.sample(WORDS, 2))
        price = chance.choice([1, 999, 1000, 1001, 2499, 2500, 9_999, 10_000, 1_000_000, 5_000_000])
        category, currency = chance.choice([root, left, right, far, far]), chance.choice(["USD", "USD", "EUR"])
        in_stock, seller, orders = chance.random() < 0.5, chance.choice([7, 8]), chance.choice([0, 0, 3, 4, 9])
        ((product_id,),) = await catalogue.rows(
            "INSERT INTO products (seller_id, category_id, name, description, price_amount, price_currency, images,"
            " created_at, updated_at, in_stock, rating_stars, rating_count, orders_count)"
            " VALUES ($1, $2, $3, '', $4, $5, '{}', now() - make_interval(secs => $6), now(), $7, $8, $9, $10)"
            " RETURNING id",
            *(seller, category, name, price, currency, age // 2, in_stock, stars, ratings, orders),
        )
        rating = stars / ratings if ratings else 0.0
        items.append(
            Item(product_id, category, name, price, currency, in_stock, seller, rating, ratings, orders, age // 2)
        )
    yield Market(root, names, parents, items)
    await catalogue.execute("UPDATE products SET deleted_at = now() WHERE id = ANY($1)", [item.id for item in items])


ORDERS: dict[str, Callable[[Item], tuple[Any, ...]]] = {
    "price_asc": lambda item: (item.price, item.id),
    "price_desc": lambda item: (-item.price, -item.id),
    "rating": lambda item: (-item.rating, -item.ratings, -item.id),
    "popular": lambda item: (-item.orders, -item.id),
    "name": lambda item: (item.name, item.id),
}
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "category_index": st.integers(0, 3),
        "q": st.sampled_from([*WORDS, "red mug", "marketware", "markteware bowl", "nothing"]),
        "min_price": st.sampled_from([0, 999, 1000, 2500, 10_000]),
        "max_price": st.sampled_from([0, 999, 1000, 2500, 1_000_000]),
        "currency": st.sampled_from(["USD", "EUR", "JPY"]),
        "in_stock": st.booleans(),
        "seller_id": st.sampled_from([7, 8, 9]),
        "min_rating": st.sampled_from([0, 1, 2.5, 3, 5]),
    },
)


def matches(market: Market, item: Item, query: dict[str, Any]) -> bool:
    words = query.get("q", "").replace("markteware", "marketware").split()
    return (
        market.is_below(item.category, query["category"])
        and set(words) <= set(item.name.split())
        and query.get("min_price", 0) <= item.price <= query.get("max_price", item.price)
        and item.currency == query.get("currency", item.currency)
        and item.in_stock == query.get("in_stock", item.in_stock)
        and item.seller == query.get("seller_id", item.seller)
        and item.rating >= query.get("min_rating", 0)
    )


def in_market(market: Market, query: dict[str, Any], sort: str = "") -> dict[str, Any]:
    """Returns the query, restricted to a category of the market, and to a currency if it compares prices."""
    category = list(market.names)[query.get("category_index", 0)]
    currency = {"currency": "USD"} if sort.startswith("price") or {"min_price", "max_price"} & set(query) else {}
    named = {name: value for name, value in query.items() if name != "category_index"}
    return {**currency, **named, "category": category}


thorough = settings(max_examples=40)


@thorough
@given(query=QUERIES, sort=st.sampled_from(sorted(ORDERS)), limit=st.integers(1, 50))
async def test_a_list_shows_all_matches_in_order(
    running_service: Catalogue, market: Market, query: dict[str, Any], sort: str, limit: int
) -> None:
    query = in_market(market, query, sort)
    expected = [item.id for item in sorted(market.items, key=ORDERS[sort]) if matches(market, item, query)]

    by_number, by_cursor = [], []
    for page in range(1, len(expected) // limit + 2):
        response = await running_service.list_products(**query, sort=sort, limit=limit, page=page)
        assert (response["total"], response["total_is_exact"], response["page"]) == (len(expected), True, page)
        by_number += [product["id"] for product in response["data"]]
    cursor: str | None = ""
    while cursor is not None:
        response = await running_service.list_products(**query, sort=sort, limit=limit, cursor=cursor)
        by_cursor += [product["id"] for product in response["data"]]
        cursor = response["next"]

    assert by_number == by_cursor == expected


@thorough
@given(query=QUERIES)
async def test_facets_count_what_each_choice_would_show(
    running_service: Catalogue, market: Market, query: dict[str, Any]
) -> None:
    query = in_market(market, query)

    facets = (await running_service.list_products(**query, facets="true", limit=1))["facets"]

    def matching(*left_out: str) -> list[Item]:
        kept = {name: value for name, value in query.items() if name not in left_out}
        return [item for item in market.items if matches(market, item, {"category": market.root, **kept})]

    anywhere = matching("category")
    below = {c: sum(market.is_below(item.category, c) for item in anywhere) for c in market.names}
    ours = [facet for facet in facets["categories"] if facet["category_id"] in market.names]
    assert {facet["category_id"]: facet["count"] for facet in ours} == {c: n for c, n in below.items() if n}
    assert all(facet["name"] == market.names[facet["category_id"]] for facet in ours)

    prices = Counter(
        (item.currency, sum(item.price >= step for step in PRICE_STEPS)) for item in matching("min_price", "max_price")
    )
    steps = [0, *PRICE_STEPS, None]
    assert facets["price_ranges"] == [
        {"currency": currency, "min_price": steps[step], "max_price": steps[step + 1], "count": n}
        for (currency, step), n in sorted(prices.items())
    ]
    stock = Counter(item.in_stock for item in matching("in_stock"))
    assert facets["in_stock"] == [{"in_stock": s, "count": stock[s]} for s in (True, False) if stock[s]]


async def test_facets_are_returned_only_on_request(catalogue: Catalogue, market: Market) -> None:
    assert "facets" not in await catalogue.list_products(category=market.root)


async def test_pages_by_relevance_do_not_overlap(catalogue: Catalogue, market: Market) -> None:
    whole = [product["id"] for product in (await catalogue.list_products(category=market.root, q="marketware"))["data"]]
    assert len(whole) == 40

    by_number, by_cursor = [], []
    for page in range(1, 7):
        response = await catalogue.list_products(category=market.root, q="marketware", limit=7, page=page)
        by_number += [product["id"] for product in response["data"]]
    cursor: str | None = ""
    while cursor is not None:
        response = await catalogue.list_products(category=market.root, q="marketware", limit=7, cursor=cursor)
        by_cursor += [product["id"] for product in response["data"]]
        cursor = response["next"]

    assert by_number == by_cursor == whole


async def test_a_list_shows_stock_and_rating(catalogue: Catalogue, market: Market) -> None:
    for product in (await catalogue.list_products(category=market.root))["data"]:
        (item,) = (item for item in market.items if item.id == product["id"])
        assert product["in_stock"] is item.in_stock
        assert product["rating"] == {"average": pytest.approx(item.rating), "count": item.ratings}


async def test_a_cursor_repeats_no_product_despite_additions_and_deletions(catalogue: Catalogue) -> None:
    category = await catalogue.add_category()
    cups = [await catalogue.add_product(category_id=category, name=f"Cup {n}") for n in range(4)]
    first = await catalogue.list_products(category=category, limit=2)

    await catalogue.add_product(category_id=category, name="New cup")
    await catalogue.http.delete(f"/api/v1/products/{cups[3]['id']}", headers=catalogue.seller)
    second = await catalogue.list_products(category=category, limit=2, cursor=first["next"])

    assert [product["name"] for product in first["data"] + second["data"]] == ["Cup 3", "Cup 2", "Cup 1", "Cup 0"]
    assert (second["page"], second["next"]) == (2, None)


@pytest.mark.parametrize("query", [{"sort": "price_asc"}, {"sort": "-price"}, {"min_price": 0}, {"max_price": 10**9}])
async def test_prices_of_several_currencies_are_never_compared(
    catalogue: Catalogue, market: Market, query: dict[str, Any]
) -> None:
    refused = await catalogue.http.get("/api/v1/products", params={"category": market.root, **query})
    assert (refused.status_code, refused.json()["code"]) == (422, "currency_required"), refused.text
    assert "EUR and USD" in refused.json()["detail"]

    for currency in ("EUR", "USD"):
        listed = (await catalogue.list_products(category=market.root, currency=currency, **query))["data"]
        assert {product["price"]["currency"] for product in listed} == {currency}
        assert len(listed) == sum(item.currency == currency for item in market.items)


async def test_a_shop_with_one_currency_need_not_name_it() -> None:
    async with migrated_database("product_service") as database, catalogue_with_neighbours(database) as catalogue:
        assert await catalogue.list_names(sort="price_asc", min_price=1) == []
        for amount in (300, 100, 200):
            await catalogue.add_product(name=f"Cup for {amount}", amount=amount)

        assert await catalogue.list_names(sort="price_asc", min_price=101) == ["Cup for 200", "Cup for 300"]


async def test_names_are_sorted_as_people_do_across_pages(catalogue: Catalogue) -> None:
    names = ["Äpfel", "apple", "Banana", "cherry", "Cherry", "date", "éclair", "Øre", "Zebra", "Zoo", "Zoo", "Ж"]
    category = await catalogue.add_category()
    for name in (*names[1::2], *names[::2]):
        await catalogue.add_product(category_id=category, name=name)

    by_number = [
        product
        for page in range(1, 7)
        for product in (await catalogue.list_products(category=category, sort="name", limit=2, page=page))["data"]
    ]
    by_cursor: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await catalogue.list_products(category=category, sort="name", limit=2, cursor=cursor)
        by_cursor += page["data"]
        cursor = page["next"]

    assert [product["name"] for product in by_number] == names
    assert by_cursor == by_number
    assert by_number[-3]["id"] < by_number[-2]["id"]


async def test_categories_are_sorted_as_people_do(catalogue: Catalogue) -> None:
    root = await catalogue.add_category("0 sorted")  # on the first page
    for name in ("Zoo", "éclair", "apple", "Äpfel"):
        await catalogue.add_category(name, root)

    trees = (await catalogue.http.get("/api/v1/categories", params={"limit": 100})).json()["data"]

    (tree,) = (tree for tree in trees if tree["id"] == root)
    assert [child["name"] for child in tree["children"]] == ["Äpfel", "apple", "éclair", "Zoo"]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("currency", "usd"),
        ("currency", "US\x00"),
        ("in_stock", "perhaps"),
        ("seller_id", "0"),
        ("min_rating", "5.1"),
        ("min_rating", "-1"),
        ("min_rating", "nan"),
        ("min_rating", "inf"),
        ("facets", "2"),
        ("cursor", "x"),
        ("cursor", "\x00"),
        ("cursor", "x" * 2001),
        ("cursor", "WyJuYW1lIiwxLCJhIiwxXQ"),
    ],
)
async def test_an_invalid_parameter_of_a_list_is_reported(catalogue: Catalogue, parameter: str, value: str) -> None:
    response = await catalogue.http.get("/api/v1/products", params={parameter: value})

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field"), response.text
    assert response.json()["errors"][0]["field"] == parameter


@pytest.fixture(scope="module")
async def long_list(running_service: Catalogue) -> AsyncIterator[int]:
    """A category of 10,050 products, all with the same word in their descriptions."""
    category = await running_service.add_category("Long list")
    await running_service.execute(
        "INSERT INTO products (seller_id, category_id, name, description, price_amount, price_currency, images,"
        " created_at, updated_at, orders_count)"
        " SELECT 7, $1, 'Thing ' || n, 'massware', 100 + n, 'USD', '{}', now(), now(), n"
        " FROM generate_series(1, 10050) AS n",
        category,
    )
    yield category
    await running_service.execute("DELETE FROM products WHERE category_id = $1", category)


async def test_a_long_list_is_counted_and_numbered_to_a_limit_and_read_to_its_end_by_cursor(
    catalogue: Catalogue, long_list: int
) -> None:
    last = await catalogue.list_products(category=long_list, sort="price_asc", currency="USD", page=100)
    assert (last["total"], last["total_is_exact"], len(last["data"])) == (10_000, False, 100)
    assert last["data"][-1]["price"]["amount"] == 10_100

    refused = await catalogue.http.get(
        "/api/v1/products",
        params={"category": long_list, "page": 101, "limit": 100, "sort": "price_asc", "currency": "USD"},
    )
    assert (refused.status_code, refused.json()["code"]) == (404, "page_too_deep")

    rest = await catalogue.list_products(category=long_list, sort="price_asc", currency="USD", cursor=last["next"])
    assert [product["price"]["amount"] for product in rest["data"]] == list(range(10_101, 10_151))
    assert (rest["page"], rest["next"]) == (101, None)


async def test_a_page_beyond_the_end_of_a_list_is_empty(catalogue: Catalogue, market: Market) -> None:
    response = await catalogue.list_products(category=market.root, page=10_000, limit=100)

    assert (response["data"], response["total"], response["next"]) == ([], 40, None)


async def test_an_exact_name_comes_first_among_too_many_matches_to_rank(catalogue: Catalogue, long_list: int) -> None:
    await catalogue.execute(
        "INSERT INTO products"
        " (seller_id, category_id, name, description, price_amount, price_currency, images, created_at, updated_at)"
        " VALUES (7, $1, 'Massware', '', 1, 'USD', '{}', now(), now())",
        long_list,
    )

    found = await catalogue.list_products(category=long_list, q="massware", limit=3)

    assert [product["name"] for product in found["data"]] == ["Massware", "Thing 10050", "Thing 10049"]
    assert (found["total"], found["total_is_exact"]) == (10_000, False)
