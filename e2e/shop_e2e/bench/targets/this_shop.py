"""This shop, its eight services as local processes with the settings of production."""

from __future__ import annotations

import asyncio
import os
import platform
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
from devtools.retry import retry
from devtools.services import SERVICES
from devtools.shop_client import Person, Shop
from devtools.stack import Plan, Stack, free_ports
from ecommerce_client.models import Price
from ecommerce_client.models.inventory import SetStockRequest
from ecommerce_client.models.product import CategoryRequest, ProductRequest

from shop_e2e.bench.catalogue import (
    BASE_PRODUCTS,
    PLENTY,
    RACE_STOCK,
    Catalogue,
    base_catalogue,
    copies_for,
    page_of,
    race_name,
    spread,
)
from shop_e2e.bench.http_client import Reply, Sender, http_request
from shop_e2e.bench.row_copies import STRIDE, copy_rows, shifted
from shop_e2e.bench.servers import STORES, StoreServers
from shop_e2e.bench.targets.target import WORKS, Buyer, Refused
from shop_e2e.isolated.database_templates import copy_databases

MAILS_OF_AN_ORDER = 2
"""It is confirmed, and paid."""
_API = "/api/v1"
UNREACHED = ",".join(f"{policy}=999999/1" for policy in ("auth", "read", "write", "webhook"))
_AT_ONCE, _CREATE_SECONDS = 6, 120.0


class ThisShop:
    name = "this shop"
    works: Sequence[str] = WORKS
    stores: Sequence[str] = STORES

    def __init__(self, servers: StoreServers, logs: Path, mail_port: int, release: Path | None = None) -> None:
        """`release` is another checkout of this repository, whose services run instead of those of this one."""
        mail = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mail_port), "SMTP_STARTTLS": "false"}
        self._settings: Mapping[str, Mapping[str, str]] = {
            "gateway": {"RATE_LIMITS": UNREACHED},
            "notification": {**mail, "SMTP_FROM": "shop@example.com"},
            "user": {"ACCESS_TOKEN_SECONDS": "7200"},
        }
        plan = Plan(
            name=f"bench-{random.randrange(16**8):08x}",
            logs=logs,
            ports=free_ports(),
            redis_database=random.randrange(3, 16),  # the lower ones are the peers'
            settings={service: {**path_of(release), **self._settings.get(service, {})} for service in SERVICES},
        )
        self._stack = Stack(plan, servers.addresses)
        self._originals: list[int] = []
        self._copies = 0
        self._ids: list[int] = []
        self._race_ids: list[int] = []
        self._categories: list[int] = []
        self._words: list[str] = []

    @property
    def port(self) -> int:
        return self._stack.plan.ports["gateway"].http

    @property
    def process_ids(self) -> Mapping[str, int]:
        """The processes of the services, by name, while it runs."""
        return {service: self._stack.process_id_of(service) for service in SERVICES}

    @property
    def stack(self) -> Stack:
        """Its processes and stores, for a check of its data."""
        return self._stack

    @property
    def databases(self) -> Sequence[str]:
        return self._stack.databases()

    async def prepare(self, catalogue: Catalogue) -> None:
        self._words = catalogue.words
        self._stack.plan.logs.mkdir(parents=True, exist_ok=True)
        await asyncio.gather(copy_databases(self._stack), self._stack.prepare())
        try:
            await self._stack.start()
            async with Shop(self._stack.url, timeout=60) as shop:
                await self._create(shop, catalogue)
        finally:
            await self._stack.stop()

    async def _create(self, shop: Shop, catalogue: Catalogue) -> None:
        admin = await shop.log_in(self._stack.plan.admin_email, self._stack.plan.admin_password)
        seller = await shop.register("seller")
        category_of = {
            name: (await admin.api.product.add_category(CategoryRequest(name=name))).id
            for name in catalogue.departments
        }
        self._categories = list(category_of.values())
        bodies = [
            ProductRequest(
                name=product.name,
                description=product.description,
                price=Price(amount=product.amount, currency="USD"),
                category_id=category_of[product.subcategory.department],
            )
            for product in catalogue.products
        ]
        races = [bodies[0].model_copy(update={"name": race_name(number)}) for number in range(catalogue.race_products)]
        turns = asyncio.Semaphore(_AT_ONCE)
        self._originals = await asyncio.gather(*(_create_product(seller, body, PLENTY, turns) for body in bodies))
        self._race_ids = await asyncio.gather(*(_create_product(seller, body, RACE_STOCK, turns) for body in races))
        self._ids = list(self._originals)

    async def grow(self, size: int) -> int:
        copies = range(self._copies + 1, copies_for(size, len(self._originals)) + 1)
        chosen = f"original.id IN ({', '.join(map(str, self._originals))})"
        columns = {"id": shifted("id"), "name": "original.name || ' ' || copy"}
        await self._copy("product", "products", copies, columns, chosen)
        shifted_id = {"product_id": shifted("product_id")}
        await self._copy("inventory", "stock", copies, shifted_id, chosen.replace("original.id", "original.product_id"))
        self._ids += [original + copy * STRIDE for copy in copies for original in self._originals]
        self._copies += len(copies)
        return len(self._ids)

    async def _copy(self, service: str, table: str, copies: range, columns: Mapping[str, str], where: str) -> None:
        connection = await asyncpg.connect(self._stack.database_of(service))
        try:
            await copy_rows(connection, table, copies, columns, where)
            await connection.execute("VACUUM ANALYZE")
        finally:
            await connection.close()

    async def start(self) -> None:
        await self._stack.start()

    async def stop(self) -> None:
        await self._stack.stop()

    async def remove(self) -> None:
        await self._stack.remove()

    def facts(self) -> Mapping[str, str]:
        changed = [f"{name}={value}" for rows in self._settings.values() for name, value in rows.items()]
        return {
            "version": version("gateway-service"),
            "Python": platform.python_version(),
            "processes": f"{len(SERVICES)}, one of each service",
            "settings that differ from the defaults": ", ".join(changed),
        }

    def read(self, work: str, number: int) -> bytes:
        word = self._words[number % len(self._words)]
        match work:
            case "list":
                return _get(f"/products?limit=20&page={page_of(number, len(self._ids))}")
            case "filter":
                category = self._categories[number % len(self._categories)]
                return _get(f"/products?limit=20&sort=price_asc&currency=USD&category={category}")
            case "details":
                return _get(f"/products/{self._ids[spread(number, len(self._ids))]}")
            case "search":
                return _get(f"/products?limit=20&q={quote(word)}")
            case _:
                return _get(f"/products/suggest?q={quote(word[:3])}")

    def rows(self, work: str, reply: Reply) -> int:
        data = _data(reply)
        return 1 if work == "details" else len(data)

    def is_answer(self, reply: Reply) -> bool:
        return reply.status == 200

    async def register(self, connection: Sender, buyer: Buyer) -> None:
        body = {"email": buyer.email, "password": buyer.password}
        _data(await connection.send(http_request("POST", f"{_API}/auth/register", body)))

    async def log_in(self, connection: Sender, buyer: Buyer) -> None:
        body = {"email": buyer.email, "password": buyer.password}
        reply = await connection.send(http_request("POST", f"{_API}/auth/login", body))
        buyer.token = _data(reply)["access_token"]

    async def add_to_cart(self, connection: Sender, buyer: Buyer, number: int) -> None:
        await self._add(connection, buyer, self._ids[spread(number, len(self._ids))])

    async def add_race_product(self, connection: Sender, buyer: Buyer, race: int) -> None:
        await self._add(connection, buyer, self._race_ids[race])

    async def _add(self, connection: Sender, buyer: Buyer, product: int) -> None:
        body = {"product_id": product, "quantity": 1}
        _data(await connection.send(http_request("POST", f"{_API}/cart", body, buyer.token)))

    async def place(self, connection: Sender, buyer: Buyer, key: str | None = None) -> None:
        """Orders what is in the cart. A request with an idempotency key may be repeated."""
        body = {"shipping_address": {"recipient": "Ada", "line1": "12 St James's Square", "city": "London",
                                     "postal_code": "SW1Y 4JH", "country": "GB"}}  # fmt: skip
        buyer.order = _data(
            await connection.send(http_request("POST", f"{_API}/orders", body, buyer.token, _keyed(key)))
        )["id"]

    async def pay(self, connection: Sender, buyer: Buyer, key: str | None = None) -> None:
        """Pays the order. A request with an idempotency key may be repeated."""
        body = {"order_id": buyer.order, "payment_method": "pm_card_visa", "confirm": True}
        _data(await connection.send(http_request("POST", f"{_API}/payments", body, buyer.token, _keyed(key))))


@asynccontextmanager
async def prepared_shop(
    servers: StoreServers, logs: Path, mail_port: int, release: Path | None = None
) -> AsyncIterator[ThisShop]:
    """Gives a shop with the base catalogue that has not been started; stops and removes it at the end of the block.

    Raises StackError.
    """
    shop = ThisShop(servers, logs, mail_port, release)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(shop.remove)
        await shop.prepare(base_catalogue(1, BASE_PRODUCTS))
        closing.push_async_callback(shop.stop)
        yield shop


def _keyed(key: str | None) -> Mapping[str, str]:
    return {} if key is None else {"Idempotency-Key": key}


def path_of(release: Path | None) -> Mapping[str, str]:
    """Returns the variable that makes Python import the services of another checkout."""
    if release is None:
        return {}
    packages = [release / "proto", *(release / "services" / name for name in ("chassis", *SERVICES))]
    return {"PYTHONPATH": os.pathsep.join(map(str, packages))}


async def _create_product(seller: Person, body: ProductRequest, stock: int, turns: asyncio.Semaphore) -> int:
    async with turns:
        # A product whose creation was not answered may be there twice; the second one has no stock and is not used.
        product = await retry(lambda: seller.api.product.add_product(body), _CREATE_SECONDS)
        request = SetStockRequest(quantity=stock)
        await retry(lambda: seller.api.inventory.set_stock(product.id, request), _CREATE_SECONDS)
        return product.id


def _get(path: str) -> bytes:
    return http_request("GET", _API + path)


def _data(reply: Reply) -> Any:
    """Returns the data of a successful answer. Raises Refused."""
    if not 200 <= reply.status < 300:
        raise Refused(reply)
    return reply.json()["data"]
