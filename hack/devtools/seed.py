"""Fills a shop with realistic data: a category tree, products with prices, images and stock, customers, a year of
orders with a weekly rhythm, and reviews by buyers.

Everything goes through the public API, so every promise of the shop holds for it. --history then backdates the orders
over a year, in the databases of a stack that runs on this machine, and checks the data's consistency. A second run
leaves what exists as it is and completes an interrupted run. ADMIN_PASSWORD has the admin's password.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import sys
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
from ecommerce_client import Client, ProblemError
from ecommerce_client.models.order import OrderResponse
from ecommerce_client.models.product import ListedProductResponse
from ecommerce_client.models.review import ReviewResponse

from devtools import consistency
from devtools.backdating import History, backdate
from devtools.catalogue import (
    DEPARTMENTS,
    KEPT,
    SUBCATEGORIES,
    Purchase,
    PurchaseOutcome,
    SeedData,
    SeedProduct,
    SeedReview,
    seed_data,
)
from devtools.product_images import picture
from devtools.retry import retry
from devtools.shop_client import Json, Person, Shop
from devtools.stack import Plan, Servers, Stack, StackError, design_ports

_AT_ONCE = 6
_TIMEOUT_SECONDS = 300.0
_LOGGED_IN_FOR = timedelta(minutes=10)
"""Less than the lifetime of an access token."""
_UNDER_WAY: Sequence[tuple[str, timedelta]] = (
    ("processing", timedelta(days=1)),
    ("shipped", timedelta(days=3)),
    ("delivered", timedelta(days=7)),
)
"""The status of an order, by its age."""
_T = TypeVar("_T")


class SeedError(Exception):
    """The shop cannot be seeded; the message says what to do."""


class Declined(Exception):
    """The card was declined, as intended."""


@dataclass(slots=True)
class Account:
    """A user's account, existing or not; it logs in when it is used."""

    shop: Shop
    email: str
    password: str = field(repr=False)
    _person: Person | None = None
    _since: float = 0.0
    _entering: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def person(self) -> Person:
        async with self._entering:
            if self._person is None or time.monotonic() - self._since > _LOGGED_IN_FOR.total_seconds():
                self._person = await retry(lambda: self.shop.log_in(self.email, self.password), _TIMEOUT_SECONDS)
                self._since = time.monotonic()
            return self._person

    async def register(self, name: str, role: str) -> int:
        """Registers the account and returns its id."""
        body = {"email": self.email, "password": self.password, "display_name": name, "role": role}
        tokens = await retry(lambda: self.shop.call("POST", "/auth/register", body), _TIMEOUT_SECONDS)
        self._person = Person(self.shop, self.email, self.password, tokens["access_token"], tokens["user"]["id"])
        self._since = time.monotonic()
        return self._person.id

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Sends a request, retried where it was not answered."""
        person = await self.person()
        return await retry(lambda: person.call(method, path, body), _TIMEOUT_SECONDS)

    async def all_of(self, listing: Callable[[Client], AsyncIterable[_T]]) -> list[_T]:
        """Returns all items of a list."""
        person = await self.person()

        async def read() -> list[_T]:
            return [item async for item in listing(person.api)]

        return await retry(read, _TIMEOUT_SECONDS)


@dataclass(frozen=True, slots=True)
class ProductImages:
    """The folder of the product images, and the URL at which a browser finds it."""

    folder: Path
    url: str

    def draw(self, product: SeedProduct) -> str:
        """Draws a product's image and returns its URL."""
        name = f"{product.name.lower().replace(' ', '-').replace(chr(39), '')}.svg"
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(picture(product))
        return f"{self.url.rstrip('/')}/{name}"


class Seeder:
    """One seeding run. Each step creates what is missing."""

    def __init__(self, admin: Account, data: SeedData, pictures: ProductImages) -> None:
        self._shop = admin.shop
        self._admin = admin
        self._data = data
        self._pictures = pictures
        self._sellers = {name: self._account(f"{name.lower()}@example.com") for name in DEPARTMENTS}
        self._buyers = [self._account(customer.email) for customer in data.customers]
        self._ids: dict[str, int] = {}
        """Account ids, by e-mail address."""
        self._subcategories: dict[str, int] = {}
        self._products: dict[int, int] = {}
        self._orders: dict[int, UUID] = {}
        """Order ids, by the purchase's position in the year."""

    async def run(self) -> None:
        await self._admin.person()
        await self._register_accounts()
        await self._create_categories()
        await self._create_products()
        await self._place_orders()
        await self._deliver()
        await self._write_reviews()

    @property
    def best_customer(self) -> Account:
        """The customer with the most purchases."""
        return self._buyers[0]

    def history(self) -> History:
        """Returns the historical times of what `run` has created."""
        purchases, opening = self._data.purchases, min(purchase.at for purchase in self._data.purchases)
        return History(
            orders={self._orders[number]: purchase.at for number, purchase in enumerate(purchases)},
            reviews={
                (self._products[review.product], self._ids[self._buyers[review.customer].email]): review.at
                for review in self._data.reviews_to_write
            },
            products={product: opening - timedelta(hours=6 + number) for number, product in self._products.items()},
            users={
                account: opening - timedelta(days=30, hours=number) for number, account in enumerate(self._ids.values())
            },
        )

    def _account(self, email: str) -> Account:
        """Derives the account's password from the admin's, so that a later run knows it."""
        password = hashlib.sha256(f"{self._admin.password} {email}".encode()).hexdigest()[:24]
        return Account(self._shop, email, password)

    async def _register_accounts(self) -> None:
        known = {user.email: user.id for user in await self._admin.all_of(lambda api: api.user.list_users())}
        sellers = [(account, name, "seller") for name, account in self._sellers.items()]
        buyers = [
            (account, customer.name, "customer")
            for account, customer in zip(self._buyers, self._data.customers, strict=True)
        ]

        async def register_account(account: Account, name: str, role: str) -> bool:
            if account.email in known:
                self._ids[account.email] = known[account.email]
                return False
            self._ids[account.email] = await account.register(name, role)
            return True

        await _each("accounts", [partial(register_account, *one) for one in (*sellers, *buyers)])

    async def _create_categories(self) -> None:
        roots = {root.name: root for root in await self._admin.all_of(lambda api: api.product.list_categories())}
        for department in DEPARTMENTS:
            known = roots.get(department)
            root = known.id if known else await self._create_category({"name": department})
            below = {child.name: child.id for child in known.children} if known else {}
            for subcategory in SUBCATEGORIES:
                if subcategory.department == department:
                    found = below.get(subcategory.name) or await self._create_category(
                        {"name": subcategory.name, "parent_id": root}
                    )
                    self._subcategories[subcategory.name] = found

    async def _create_category(self, category: Json) -> int:
        """Creates a category and returns its id."""
        return int((await self._admin.call("POST", "/categories", category))["id"])

    async def _create_products(self) -> None:
        known = {
            (product.seller_id, product.name): product.id
            for seller in [self._ids[account.email] for account in self._sellers.values()]
            for product in await self._admin.all_of(partial(_products_of, seller))
        }

        async def create_product(product: SeedProduct) -> bool:
            seller = self._sellers[product.subcategory.department]
            product_id = known.get((self._ids[seller.email], product.name))
            if product_id is None:
                created = await seller.call("POST", "/products", self._described(product))
                self._products[product.number] = created["id"]
            else:
                self._products[product.number] = product_id
                if await seller.all_of(lambda api: api.inventory.get_history(product_id)):
                    return False
            stock = {"quantity": self._data.stock_of(product)}
            await seller.call("PUT", f"/inventory/{self._products[product.number]}", stock)
            return True

        await _each("products", [partial(create_product, product) for product in self._data.products])

    def _described(self, product: SeedProduct) -> Json:
        return {
            "name": product.name,
            "description": product.description,
            "price": {"amount": product.amount, "currency": "USD"},
            "category_id": self._subcategories[product.subcategory.name],
            "images": [self._pictures.draw(product)],
        }

    async def _place_orders(self) -> None:
        """Places the orders in chronological order, one at a time per buyer: a buyer's first order is their first
        purchase.
        """
        everything = await self._admin.all_of(lambda api: api.order.list_orders(all_=True))
        placed: dict[int, deque[OrderResponse]] = defaultdict(deque)
        for order in sorted(everything, key=lambda order: order.id):
            placed[order.buyer_id].append(order)
        turns: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

        async def sell(number: int, purchase: Purchase) -> bool:
            buyer = self._buyers[purchase.customer]
            async with turns[purchase.customer]:
                known = placed[self._ids[buyer.email]]
                is_new = not known
                order = known.popleft() if known else await self._place(buyer, purchase)
            self._orders[number] = order.id
            if order.status != "pending":
                return False
            await self._complete(buyer, order.id, purchase.outcome)
            return is_new

        await _each("orders", [partial(sell, number, one) for number, one in enumerate(self._data.purchases)])

    async def _place(self, buyer: Account, purchase: Purchase) -> OrderResponse:
        person, key = await buyer.person(), str(uuid4())
        items = [(self._products[product], quantity) for product, quantity in purchase.lines.items()]
        return await retry(lambda: person.order(*items, key=key), _TIMEOUT_SECONDS)

    async def _complete(self, buyer: Account, order: UUID, outcome: PurchaseOutcome) -> None:
        if outcome is PurchaseOutcome.ABANDONED:
            await buyer.call("DELETE", f"/orders/{order}")
            return
        if outcome is PurchaseOutcome.SECOND_CARD:
            with contextlib.suppress(Declined):
                await self._pay(buyer, order, "pm_card_chargeDeclined")
        await self._pay(buyer, order, "pm_card_visa")

    async def _pay(self, buyer: Account, order: UUID, card: str) -> None:
        """Pays an order, unless an interrupted run has. Raises Declined."""
        person, key = await buyer.person(), str(uuid4())
        try:
            await retry(lambda: person.pay(order, card, key), _TIMEOUT_SECONDS)
        except ProblemError as refusal:
            if refusal.code == "card_declined":
                raise Declined from refusal
            if refusal.code not in ("payment_exists", "order_not_payable"):
                raise

    async def _deliver(self) -> None:
        """Advances each order to the status that fits its age."""
        status = await self._confirmed()

        async def deliver(number: int, purchase: Purchase) -> bool:
            order = self._orders[number]
            return await self._advance(order, status[order], purchase)

        await _each("deliveries", [partial(deliver, number, one) for number, one in enumerate(self._data.purchases)])

    async def _advance(self, order: UUID, status: str, purchase: Purchase) -> bool:
        if purchase.outcome is PurchaseOutcome.RETURNED and status == "confirmed":
            await self._buyers[purchase.customer].call("DELETE", f"/orders/{order}")
            return True
        age = datetime.now(UTC) - purchase.at
        behind = [step for step, after in _UNDER_WAY if purchase.outcome in KEPT and age >= after]
        ahead = behind[behind.index(status) + 1 :] if status in behind else behind if status == "confirmed" else []
        for step in ahead:
            await self._admin.call("PUT", f"/orders/{order}/status", {"status": step})
        return bool(ahead)

    async def _confirmed(self) -> Mapping[UUID, str]:
        """Returns the status of each order, once no paid order is pending any more."""
        ours = set(self._orders.values())
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while True:
                waiting = await self._admin.all_of(lambda api: api.order.list_orders(all_=True, status="pending"))
                if ours.isdisjoint(order.id for order in waiting):
                    break
                await asyncio.sleep(1)
        everything = await self._admin.all_of(lambda api: api.order.list_orders(all_=True))
        return {order.id: order.status for order in everything}

    async def _write_reviews(self) -> None:
        authors = {
            product: {review.author_id for review in await self._admin.all_of(partial(_reviews_of, product))}
            for product in {self._products[review.product] for review in self._data.reviews_to_write}
        }

        async def hear(review: SeedReview) -> bool:
            buyer, product = self._buyers[review.customer], self._products[review.product]
            if self._ids[buyer.email] in authors[product]:
                return False
            printed = {"rating": review.stars, "title": review.title, "text": review.text}
            await buyer.call("POST", f"/products/{product}/reviews", printed)
            return True

        await _each("reviews", [partial(hear, review) for review in self._data.reviews_to_write])


def _products_of(seller: int, api: Client) -> AsyncIterable[ListedProductResponse]:
    return api.product.list_products(seller_id=seller)


def _reviews_of(product: int, api: Client) -> AsyncIterable[ReviewResponse]:
    return api.review.list_reviews(product)


async def _each(what: str, steps: Iterable[Callable[[], Awaitable[bool]]]) -> None:
    """Runs the steps in order, some at the same time, with progress and the share that existed already."""
    waiting, made, began = deque(steps), 0, time.monotonic()
    count, done = len(waiting), 0

    async def work() -> None:
        nonlocal made, done
        while waiting:
            is_new = await waiting.popleft()()
            made, done = made + is_new, done + 1
            if sys.stdout.isatty():
                print(f"\r  {what:12} {done:5} of {count}", end="", flush=True)

    async with asyncio.TaskGroup() as workers:
        for _ in range(_AT_ONCE):
            workers.create_task(work())
    line = f"  {what:12} {made:5} new {count - made:7} there already {time.monotonic() - began:7.0f} s"
    print(f"\r{line}" if sys.stdout.isatty() else line, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = _parser().parse_args(arguments)
    try:
        asyncio.run(_seed(chosen))
    except* (SeedError, StackError, ProblemError) as failures:
        sys.exit(f"seed: {_first(failures)}")
    except* (httpx.TransportError, TimeoutError) as failures:
        sys.exit(
            f"seed: {chosen.url} does not answer ({_first(failures)!r}): start a shop with make run-all or make up"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devtools.seed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--url", default="http://localhost:8080", help="of the gateway [%(default)s]")
    parser.add_argument("--products", type=_between(1, 500), default=200, help="how many, at most 500 [%(default)s]")
    parser.add_argument("--customers", type=_between(1, 380), default=40, help="how many, at most 380 [%(default)s]")
    parser.add_argument("--orders", type=_between(1, 20_000), default=1000, help="how many in the year [%(default)s]")
    parser.add_argument(
        "--seed", type=int, default=1, help="another seed and the same numbers: another shop [%(default)s]"
    )
    parser.add_argument(
        "--history", metavar="STACK", help="give the orders the times of a year, in this stack's databases"
    )
    parser.add_argument(
        "--pictures", type=Path, default=cache / "ecommerce-shop/pictures", help="drawn here [%(default)s]"
    )
    parser.add_argument(
        "--pictures-url", default="http://localhost:8089", help="that folder, for browsers [%(default)s]"
    )
    parser.add_argument("--admin-email", default="admin@example.com", help="[%(default)s]")
    return parser


def _between(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"write a number from {least} to {most}, not {text}")
        return int(text)

    return number


def _first(failures: BaseException) -> BaseException:
    return _first(failures.exceptions[0]) if isinstance(failures, BaseExceptionGroup) else failures


async def _seed(chosen: argparse.Namespace) -> None:
    password = os.environ.get("ADMIN_PASSWORD")
    if not password:
        raise SeedError(
            "ADMIN_PASSWORD is not set: make run-all keeps it in .shop/local/secrets.env,"
            " a cluster in the Secret <name>-admin"
        )
    stack = _stack(chosen.history) if chosen.history else None
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    data = seed_data(chosen.seed, chosen.products, chosen.customers, chosen.orders, until)
    print(f"seeding {chosen.url}: a year until {until:%Y-%m-%d %H:%M} UTC", flush=True)
    async with Shop(chosen.url) as shop:
        await shop.call("GET", "/categories")
        seeding = Seeder(
            Account(shop, chosen.admin_email, password), data, ProductImages(chosen.pictures, chosen.pictures_url)
        )
        await seeding.run()
        if stack is not None:
            await _backdate(stack, seeding.history())
    print(
        "serve its images: python -m http.server --bind 127.0.0.1"
        f" --directory {chosen.pictures} {_port(chosen.pictures_url)}"
    )
    print(f"a customer to log in as: {seeding.best_customer.email}, password {seeding.best_customer.password}")


def _stack(name: str) -> Stack:
    """Returns a handle on a running stack's databases and broker. Raises StackError."""
    return Stack(Plan(name, Path(), design_ports(), redis_database=0), Servers.from_environment())


async def _backdate(stack: Stack, history: History) -> None:
    """Backdates the data. Raises SeedError if it is not consistent afterwards."""
    began = time.monotonic()
    async with consistency.open_checker(stack) as kept:
        await kept.wait_until_consistent(_TIMEOUT_SECONDS)
        await backdate(stack, history)
        inconsistencies = await kept.inconsistencies()
    if inconsistencies:
        raise SeedError("the data is not consistent any more: " + "; ".join(map(str, inconsistencies)))
    print(
        f"  {'history':12} {len(history.orders):5} orders in a year; the data is consistent"
        f" {time.monotonic() - began:4.0f} s"
    )


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or 80


if __name__ == "__main__":
    main()
