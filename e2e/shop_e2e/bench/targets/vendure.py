"""Vendure 3: a server and a worker, with the settings that its guides to deployment advise."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from devtools.catalogue import SeedProduct

from shop_e2e.bench.catalogue import PLENTY, RACE_STOCK, Catalogue, page_of, race_name
from shop_e2e.bench.http_client import Reply, Sender, http_request
from shop_e2e.bench.row_copies import STRIDE, copy_rows, shifted
from shop_e2e.bench.servers import StoreServers
from shop_e2e.bench.targets.node_shop import NodeShop
from shop_e2e.bench.targets.target import Buyer, Refused, TargetError

_REDIS_DATABASE = 1
_FAILURE = "__typename ... on ErrorResult { errorCode message }"
_LIST = """query List($input: SearchInput!) { search(input: $input) { totalItems items {
  productId productName slug description inStock productAsset { preview } currencyCode
  priceWithTax { ... on SinglePrice { value } ... on PriceRange { min max } } } } }"""
_DETAILS = """query Details($id: ID!) { product(id: $id) { id name slug description featuredAsset { preview }
  collections { id name } facetValues { id name }
  variants { id name sku stockLevel priceWithTax currencyCode options { id name } } } }"""
_SUGGEST = "query Suggest($input: SearchInput!) { search(input: $input) { items { productName slug } } }"
_REGISTER = f"mutation ($input: RegisterCustomerInput!) {{ registerCustomerAccount(input: $input) {{ {_FAILURE} }} }}"
_LOG_IN = (
    f"mutation ($name: String!, $password: String!) {{ login(username: $name, password: $password) {{ {_FAILURE} }} }}"
)
_ADD = f"""mutation ($id: ID!) {{ addItemToOrder(productVariantId: $id, quantity: 1) {{
  ... on Order {{ code totalWithTax lines {{ id quantity linePriceWithTax }} }} {_FAILURE} }} }}"""
_PLACE = f"""mutation ($address: CreateAddressInput!, $method: [ID!]!) {{
  setOrderShippingAddress(input: $address) {{ {_FAILURE} }}
  setOrderShippingMethod(shippingMethodId: $method) {{ {_FAILURE} }}
  transitionOrderToState(state: "ArrangingPayment") {{ ... on Order {{ code state totalWithTax }} {_FAILURE} }} }}"""
_PAY = f"""mutation {{ addPaymentToOrder(input: {{ method: "simulated", metadata: {{}} }}) {{
  ... on Order {{ code state totalWithTax }} {_FAILURE} }} }}"""
_ADDRESS = {
    "fullName": "Ada", "streetLine1": "12 St James's Square", "city": "London", "postalCode": "SW1Y 4JH",
    "countryCode": "GB",
}  # fmt: skip
_NO_ANSWERS = (b'{"errors"', b'{"data":null', b'{"data":{"product":null')
_CSV = (
    "name", "slug", "description", "assets", "facets", "optionGroups", "optionValues", "sku", "price", "taxCategory",
    "stockOnHand", "trackInventory", "variantAssets", "variantFacets",
)  # fmt: skip
_NAME, _SLUG = "original.name || ' ' || copy", "original.slug || '-' || copy"
_COPIED: Mapping[str, tuple[str, Sequence[str], Mapping[str, str]]] = {
    "product": ("id", ["id"], {}),
    "product_translation": ("baseId", ["id", "baseId"], {"name": _NAME, "slug": _SLUG}),
    "product_channels_channel": ("productId", ["productId"], {}),
    "product_facet_values_facet_value": ("productId", ["productId"], {}),
    "product_variant": ("productId", ["id", "productId"], {}),
    "product_variant_translation": ("baseId", ["id", "baseId"], {"name": _NAME}),
    "product_variant_price": ("variantId", ["id", "variantId"], {}),
    "product_variant_channels_channel": ("productVariantId", ["productVariantId"], {}),
    "stock_level": ("productVariantId", ["id", "productVariantId"], {}),
    "collection_product_variants_product_variant": ("productVariantId", ["productVariantId"], {}),
    "search_index_item": (
        "productVariantId",
        ["productVariantId", "productId"],
        {
            "productName": "original.\"productName\" || ' ' || copy",
            "productVariantName": "original.\"productVariantName\" || ' ' || copy",
            "slug": _SLUG,
        },
    ),
}
"""The tables with rows of a product: the column that tells whose row it is, the columns that have ids of their own for
each copy, and further ones that differ. A product has one variant, which has the product's id.
"""


class Vendure(NodeShop):
    name = "Vendure"
    project = "vendure"
    settings = (
        "NODE_ENV=production, DefaultSearchPlugin, BullMQJobQueuePlugin, RedisCachePlugin, no schema synchronization,"
        " poolSize 20, requireVerification false, no EmailPlugin; list, filter, search and suggest use the search"
        " index; place is one request: address, shipping method, ArrangingPayment"
    )

    def __init__(self, servers: StoreServers, logs: Path) -> None:
        super().__init__(servers, logs)
        redis = urlsplit(servers.addresses.redis)
        self._environment |= {
            "PORT": str(self.port),
            "REDIS_HOST": redis.hostname or "",
            "REDIS_PORT": str(redis.port),
            "REDIS_DATABASE": str(_REDIS_DATABASE),
            "ADMIN_PASSWORD": "bench-admin",
        }
        self._words: list[str] = []
        self._collections: list[str] = []
        self._originals: list[int] = []
        self._race_ids: list[int] = []
        self._shipping = ""

    async def prepare(self, catalogue: Catalogue) -> None:
        processes = await self._install()
        self._words = catalogue.words
        self._collections = [name.lower() for name in catalogue.departments]
        initial, products = self._logs / "initial.json", self._logs / "products.csv"
        initial.write_text(json.dumps(_initial_data(catalogue)))
        _write_products(products, catalogue)
        command = ("node", "seed.js", str(initial), str(products))
        await processes.run("seed", *command, environment={"SYNCHRONIZE": "true"})
        await self._read_ids()

    async def _read_ids(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            rows = await connection.fetch('SELECT id, "productId", sku FROM product_variant ORDER BY id')
            shipping = await connection.fetchval("SELECT min(id) FROM shipping_method")
        finally:
            await connection.close()
        if any(row["id"] != row["productId"] for row in rows):
            raise TargetError("Vendure gave a variant another id than its product's: copies would not match")
        self._originals = [row["id"] for row in rows if row["sku"].startswith("P")]
        self._created = len(self._originals)
        self._race_ids = [row["id"] for row in rows if row["sku"].startswith("R")]
        self._shipping = str(shipping)

    async def _copy_products(self, connection: asyncpg.Connection, copies: range) -> None:
        chosen = ", ".join(map(str, self._originals))
        for table, (owner, ids, others) in _COPIED.items():
            columns = {**{column: shifted(column) for column in ids}, **others}
            await copy_rows(connection, table, copies, columns, f'original."{owner}" IN ({chosen})')

    async def start(self) -> None:
        await self._processes.start("server", "node", "server.js")
        await self._processes.start("worker", "node", "worker.js")
        await self._processes.until_healthy(f"http://127.0.0.1:{self.port}/health")

    def read(self, work: str, number: int) -> bytes:
        word = self._words[number % len(self._words)]
        page: dict[str, Any] = {"take": 20, "groupByProduct": True}
        match work:
            case "list":
                skip = 20 * (page_of(number, len(self._originals)) - 1)
                return _graphql(_LIST, {"input": {**page, "skip": skip}})
            case "filter":
                collection = self._collections[number % len(self._collections)]
                return _graphql(_LIST, {"input": {**page, "collectionSlug": collection, "sort": {"price": "ASC"}}})
            case "details":
                return _graphql(_DETAILS, {"id": self._product(number)})
            case "search":
                return _graphql(_LIST, {"input": {**page, "term": word}})
            case _:
                return _graphql(_SUGGEST, {"input": {"take": 10, "groupByProduct": True, "term": word[:3]}})

    def _product(self, number: int) -> int:
        """Returns the id of the `number`-th product."""
        copy, place = self._place_of(number)
        return self._originals[place] + copy * STRIDE

    def rows(self, work: str, reply: Reply) -> int:
        data = _data(reply)
        return 1 if work == "details" else len(data["search"]["items"])

    def is_answer(self, reply: Reply) -> bool:
        return reply.status == 200 and not reply.body.startswith(_NO_ANSWERS)

    async def register(self, connection: Sender, buyer: Buyer) -> None:
        account = {"emailAddress": buyer.email, "password": buyer.password, "firstName": "Ada", "lastName": "Lovelace"}
        _data(await connection.send(_graphql(_REGISTER, {"input": account})))

    async def log_in(self, connection: Sender, buyer: Buyer) -> None:
        reply = await connection.send(_graphql(_LOG_IN, {"name": buyer.email, "password": buyer.password}))
        _data(reply)
        buyer.token = reply.header("vendure-auth-token")

    async def add_to_cart(self, connection: Sender, buyer: Buyer, number: int) -> None:
        _data(await connection.send(_graphql(_ADD, {"id": self._product(number)}, buyer.token)))

    async def add_race_product(self, connection: Sender, buyer: Buyer, race: int) -> None:
        _data(await connection.send(_graphql(_ADD, {"id": self._race_ids[race]}, buyer.token)))

    async def place(self, connection: Sender, buyer: Buyer) -> None:
        variables = {"address": _ADDRESS, "method": [self._shipping]}
        _data(await connection.send(_graphql(_PLACE, variables, buyer.token)))

    async def pay(self, connection: Sender, buyer: Buyer) -> None:
        _data(await connection.send(_graphql(_PAY, {}, buyer.token)))


def _initial_data(catalogue: Catalogue) -> Mapping[str, object]:
    return {
        "defaultLanguage": "en",
        "defaultZone": "Europe",
        "countries": [{"code": "GB", "name": "United Kingdom", "zone": "Europe"}],
        "taxRates": [{"name": "Standard Tax", "percentage": 0}],
        "shippingMethods": [{"name": "Standard", "price": 0}],
        "paymentMethods": [
            {
                "name": "Simulated",
                "handler": {
                    "code": "dummy-payment-handler",
                    "arguments": [{"name": "automaticSettle", "value": "true"}],
                },
            }
        ],
        "collections": [
            {
                "name": name,
                "slug": name.lower(),
                "filters": [{"code": "facet-value-filter", "args": {"facetValueNames": [name], "containsAny": False}}],
            }
            for name in catalogue.departments
        ],
    }


def _write_products(path: Path, catalogue: Catalogue) -> None:
    """Writes the catalogue as Vendure imports it; products for races have a SKU that begins with R."""
    first = catalogue.products[0]
    rows = [_csv_row(product, product.name, f"P{product.number}", PLENTY) for product in catalogue.products]
    rows += [_csv_row(first, race_name(number), f"R{number}", RACE_STOCK) for number in range(catalogue.race_products)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([_CSV, *rows])


def _csv_row(product: SeedProduct, name: str, sku: str, stock: int) -> Sequence[object]:
    return (
        name, f"product-{sku.lower()}", product.description, "", f"category:{product.subcategory.department}", "", "",
        sku, product.amount / 100, "standard", stock, "true", "", "",
    )  # fmt: skip


def _graphql(query: str, variables: Mapping[str, object], token: str | None = None) -> bytes:
    return http_request("POST", "/shop-api", {"query": query, "variables": variables}, token)


def _data(reply: Reply) -> Any:
    """Returns the data of an answer without errors: GraphQL's, and those that Vendure returns as results. Raises
    Refused.
    """
    answer: dict[str, Any] = reply.json() if reply.status == 200 else {"errors": reply.status}
    data = answer.get("data")
    if "errors" in answer or data is None or any(_is_error(result) for result in data.values()):
        raise Refused(reply)
    return data


def _is_error(result: object) -> bool:
    return result is None or (isinstance(result, dict) and "errorCode" in result)
