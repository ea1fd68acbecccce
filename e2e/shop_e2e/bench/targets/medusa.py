"""Medusa 2: a server and a worker, with the settings that its guide to deployment advises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import asyncpg
from chassis_testing.ports import free_port
from devtools.catalogue import SeedProduct

from shop_e2e.bench.catalogue import PLENTY, RACE_STOCK, Catalogue, page_of, race_name
from shop_e2e.bench.http_client import Reply, Sender, http_request
from shop_e2e.bench.row_copies import copy_rows
from shop_e2e.bench.servers import StoreServers
from shop_e2e.bench.targets.node_shop import NodeShop
from shop_e2e.bench.targets.target import Buyer, Refused

_REDIS_DATABASE = 2
_MEDUSA = ("npx", "--no-install", "medusa")
_OFFERED = "*variants.calculated_price,+variants.inventory_quantity"
_LISTED = f"id,title,description,handle,thumbnail,variants.id,{_OFFERED}"
_ADDRESS = {
    "first_name": "Ada", "last_name": "Lovelace", "address_1": "12 St James's Square", "city": "London",
    "postal_code": "SW1Y 4JH", "country_code": "gb",
}  # fmt: skip
_VARIANTS = "SELECT id FROM product_variant WHERE product_id IN ({products})"
_PRICE_SETS = f"SELECT price_set_id FROM product_variant_price_set WHERE variant_id IN ({_VARIANTS})"
_ITEMS = f"SELECT inventory_item_id FROM product_variant_inventory_item WHERE variant_id IN ({_VARIANTS})"
_PRODUCT_OPTIONS = "SELECT id FROM product_product_option WHERE product_id IN ({products})"
_COPIED: Mapping[str, tuple[str, str, Sequence[str]]] = {
    "product": ("id", "{products}", ["id", "handle", "title"]),
    "product_sales_channel": ("product_id", "{products}", ["id", "product_id"]),
    "product_shipping_profile": ("product_id", "{products}", ["id", "product_id"]),
    "product_category_product": ("product_id", "{products}", ["product_id"]),
    "product_product_option": ("product_id", "{products}", ["id", "product_id"]),
    "product_product_option_value": (
        "product_product_option_id",
        _PRODUCT_OPTIONS,
        ["id", "product_product_option_id"],
    ),
    "product_variant": ("product_id", "{products}", ["id", "product_id", "sku"]),
    "product_variant_option": ("variant_id", _VARIANTS, ["variant_id"]),
    "price_set": ("id", _PRICE_SETS, ["id"]),
    "price": ("price_set_id", _PRICE_SETS, ["id", "price_set_id"]),
    "product_variant_price_set": ("variant_id", _VARIANTS, ["id", "variant_id", "price_set_id"]),
    "inventory_item": ("id", _ITEMS, ["id", "sku"]),
    "inventory_level": ("inventory_item_id", _ITEMS, ["id", "inventory_item_id"]),
    "product_variant_inventory_item": ("variant_id", _VARIANTS, ["id", "variant_id", "inventory_item_id"]),
}
"""The tables with rows of a product, parents first: the column that tells whose row it is, its values for the products
that were created, and the columns that differ in each copy by a suffix. Copies share the options of their original.
"""


class Medusa(NodeShop):
    name = "Medusa"
    project = "medusa"
    settings = (
        "NODE_ENV=production, caching, locking, event bus and workflow engine in Redis, the feature flag for caching,"
        " at most 20 connections, no telemetry, no administration; filter is not sorted, since it cannot sort by price;"
        " search and suggest use q of /store/products; cart creates a cart with a line; place is four requests:"
        " address, shipping method, payment collection, payment session; pay completes the cart"
    )

    def __init__(self, servers: StoreServers, logs: Path) -> None:
        super().__init__(servers, logs)
        self._environment |= {
            "MEDUSA_DISABLE_TELEMETRY": "1",
            "LOG_LEVEL": "warn",
            "REDIS_URL": urlunsplit(urlsplit(servers.addresses.redis)._replace(path=f"/{_REDIS_DATABASE}")),
            "JWT_SECRET": "bench",
            "COOKIE_SECRET": "bench",
        }
        self._words: list[str] = []
        self._categories: list[str] = []
        self._products: list[str] = []
        self._variants: list[str] = []
        self._race_variants: list[str] = []
        self._headers: Mapping[str, str] = {}
        self._region = self._shipping = ""

    async def prepare(self, catalogue: Catalogue) -> None:
        processes = await self._install()
        self._words = catalogue.words
        given, made = self._logs / "catalogue.json", self._logs / "ids.json"
        given.write_text(json.dumps(_seed(catalogue)))
        await processes.run("migrate", *_MEDUSA, "db:migrate")
        await processes.run("seed", *_MEDUSA, "exec", "./seed.js", str(given), str(made))
        self._read_ids(json.loads(made.read_text()))

    def _read_ids(self, ids: Mapping[str, Any]) -> None:
        self._headers = {"x-publishable-api-key": ids["key"]}
        self._region, self._shipping, self._categories = ids["region"], ids["shipping"], ids["categories"]
        sold = {sku: one for sku, one in ids["products"].items() if sku.startswith("P")}
        self._products = [one["product"] for one in sold.values()]
        self._created = len(sold)
        self._variants = [one["variant"] for one in sold.values()]
        self._race_variants = [one["variant"] for sku, one in ids["products"].items() if sku.startswith("R")]

    async def _copy_products(self, connection: asyncpg.Connection, copies: range) -> None:
        products = ", ".join(f"'{product}'" for product in self._products)
        for table, (column, owners, names) in _COPIED.items():
            columns = {name: f"original.\"{name}\" || '-' || copy" for name in names}
            where = f'original."{column}" IN ({owners.format(products=products)})'
            await copy_rows(connection, table, copies, columns, where)

    async def start(self) -> None:
        for mode, port in (("server", self.port), ("worker", free_port())):
            command = (*_MEDUSA, "start", "--host", "127.0.0.1", "--port", str(port))
            await self._processes.start(mode, *command, environment={"WORKER_MODE": mode})
        await self._processes.until_healthy(f"http://127.0.0.1:{self.port}/health")

    def read(self, work: str, number: int) -> bytes:
        word = self._words[number % len(self._words)]
        match work:
            case "list":
                offset = 20 * (page_of(number, len(self._products)) - 1)
                return self._list(limit=20, offset=offset, order="-created_at", fields=_LISTED)
            case "filter":
                category = self._categories[number % len(self._categories)]
                return self._list(limit=20, category_id=category, fields=_LISTED)
            case "details":
                query = urlencode({"region_id": self._region, "fields": f"*categories,{_OFFERED}"})
                return self._request("GET", f"products/{self._spread(self._products, number)}?{query}")
            case "search":
                return self._list(limit=20, q=word, fields=_LISTED)
            case _:
                return self._list(limit=10, q=word[:3], fields="id,title,handle")

    def _list(self, **query: object) -> bytes:
        return self._request("GET", f"products?{urlencode({'region_id': self._region, **query})}")

    def _request(self, method: str, path: str, body: object = None, token: str | None = None) -> bytes:
        return http_request(method, f"/store/{path}", body, token, self._headers)

    def _spread(self, ids: Sequence[str], number: int) -> str:
        """Returns the id of the `number`-th product, or of its variant."""
        copy, place = self._place_of(number)
        return f"{ids[place]}-{copy}" if copy else ids[place]

    def rows(self, work: str, reply: Reply) -> int:
        answer = _json(reply)
        return 1 if work == "details" else len(answer["products"])

    def is_answer(self, reply: Reply) -> bool:
        return reply.status == 200

    async def register(self, connection: Sender, buyer: Buyer) -> None:
        credentials = {"email": buyer.email, "password": buyer.password}
        path = "/auth/customer/emailpass/register"
        token = _json(await connection.send(http_request("POST", path, credentials)))["token"]
        customer = {"email": buyer.email, "first_name": "Ada", "last_name": "Lovelace"}
        _json(await connection.send(self._request("POST", "customers", customer, token)))

    async def log_in(self, connection: Sender, buyer: Buyer) -> None:
        credentials = {"email": buyer.email, "password": buyer.password}
        reply = await connection.send(http_request("POST", "/auth/customer/emailpass", credentials))
        buyer.token = _json(reply)["token"]

    async def add_to_cart(self, connection: Sender, buyer: Buyer, number: int) -> None:
        await self._create_cart(connection, buyer, self._spread(self._variants, number))

    async def add_race_product(self, connection: Sender, buyer: Buyer, race: int) -> None:
        await self._create_cart(connection, buyer, self._race_variants[race])

    async def _create_cart(self, connection: Sender, buyer: Buyer, variant: str) -> None:
        """Creates a cart: the one before has become an order."""
        content = {"region_id": self._region, "items": [{"variant_id": variant, "quantity": 1}]}
        reply = await connection.send(self._request("POST", "carts", content, buyer.token))
        buyer.order = _json(reply)["cart"]["id"]

    async def place(self, connection: Sender, buyer: Buyer) -> None:
        async def post(path: str, body: object) -> Any:
            return _json(await connection.send(self._request("POST", path, body, buyer.token)))

        await post(f"carts/{buyer.order}", {"email": buyer.email, "shipping_address": _ADDRESS})
        await post(f"carts/{buyer.order}/shipping-methods", {"option_id": self._shipping})
        collection = (await post("payment-collections", {"cart_id": buyer.order}))["payment_collection"]["id"]
        await post(f"payment-collections/{collection}/payment-sessions", {"provider_id": "pp_system_default"})

    async def pay(self, connection: Sender, buyer: Buyer) -> None:
        reply = await connection.send(self._request("POST", f"carts/{buyer.order}/complete", None, buyer.token))
        if _json(reply)["type"] != "order":
            raise Refused(reply)


def _seed(catalogue: Catalogue) -> Mapping[str, object]:
    """Returns the catalogue as seed.js reads it; products for races have a SKU that begins with R."""
    first = catalogue.products[0]
    rows = [_product(product, product.name, f"P{product.number}", PLENTY) for product in catalogue.products]
    rows += [_product(first, race_name(number), f"R{number}", RACE_STOCK) for number in range(catalogue.race_products)]
    return {"departments": catalogue.departments, "products": rows}


def _product(product: SeedProduct, name: str, sku: str, stock: int) -> Mapping[str, object]:
    return {
        "name": name, "sku": sku, "description": product.description, "department": product.subcategory.department,
        "price": product.amount / 100, "stock": stock,
    }  # fmt: skip


def _json(reply: Reply) -> Any:
    """Returns the content of an answer that is not an error. Raises Refused."""
    if reply.status != 200:
        raise Refused(reply)
    return reply.json()
