"""Fills a shop with what makes it look like one: a category tree, products with prices, pictures and stock, customers, a year of
orders with a weekly rhythm, and reviews by those who bought.

Everything goes through the public API, so every promise of the shop holds for it. --history then gives the orders the times of a year,
in the databases of a stack that runs on this machine, and checks the books. Run it again, and what is there already is left as it is;
what an interrupted run has not done is done. The admin's password is read from the variable ADMIN_PASSWORD.
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
from ecommerce_client.models.order import OrderAnswer
from ecommerce_client.models.product import ListedAnswer
from ecommerce_client.models.review import ReviewResponse

from shop_e2e import books
from shop_e2e.assortment import DEPARTMENTS, KEPT, SHELVES, Article, Assortment, Outcome, Purchase, Verdict, assortment
from shop_e2e.backdating import Past, backdate
from shop_e2e.client import Json, Person, Shop
from shop_e2e.drawings import picture
from shop_e2e.insisting import insist
from shop_e2e.stack import Plan, Servers, Stack, StackError, design_ports

_AT_ONCE = 6
_PATIENCE = 300.0
_LOGGED_IN_FOR = timedelta(minutes=10)
"""Shorter than an access token lives."""
_UNDER_WAY: Sequence[tuple[str, timedelta]] = (
    ("processing", timedelta(days=1)),
    ("shipped", timedelta(days=3)),
    ("delivered", timedelta(days=7)),
)
"""Where an order is, by its age."""
_T = TypeVar("_T")


class SeedError(Exception):
    """The shop cannot be seeded; the message says what to do."""


class Declined(Exception):
    """The card was not charged, as it was meant."""


@dataclass(slots=True)
class Account:
    """Somebody who has, or will have, an account; logged in when they are needed."""

    shop: Shop
    email: str
    password: str = field(repr=False)
    _person: Person | None = None
    _since: float = 0.0
    _entering: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def person(self) -> Person:
        async with self._entering:
            if self._person is None or time.monotonic() - self._since > _LOGGED_IN_FOR.total_seconds():
                self._person = await insist(lambda: self.shop.log_in(self.email, self.password), _PATIENCE)
                self._since = time.monotonic()
            return self._person

    async def register(self, name: str, role: str) -> int:
        """The new account's id."""
        wanted = {"email": self.email, "password": self.password, "display_name": name, "role": role}
        tokens = await insist(lambda: self.shop.call("POST", "/auth/register", wanted), _PATIENCE)
        self._person = Person(self.shop, self.email, self.password, tokens["access_token"], tokens["user"]["id"])
        self._since = time.monotonic()
        return self._person.id

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Repeated where it was not answered."""
        person = await self.person()
        return await insist(lambda: person.call(method, path, body), _PATIENCE)

    async def all_of(self, listing: Callable[[Client], AsyncIterable[_T]]) -> list[_T]:
        """All that a list has."""
        person = await self.person()

        async def read() -> list[_T]:
            return [item async for item in listing(person.api)]

        return await insist(read, _PATIENCE)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Where they are drawn to, and at which address a browser finds that folder."""

    folder: Path
    url: str

    def draw(self, article: Article) -> str:
        """The picture's address."""
        name = f"{article.name.lower().replace(' ', '-').replace(chr(39), '')}.svg"
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(picture(article))
        return f"{self.url.rstrip('/')}/{name}"


class Seeding:
    """One run. Each step finds what is there and adds what is not."""

    def __init__(self, admin: Account, wanted: Assortment, pictures: Pictures) -> None:
        self._shop = admin.shop
        self._admin = admin
        self._wanted = wanted
        self._pictures = pictures
        self._sellers = {name: self._account(f"{name.lower()}@example.com") for name in DEPARTMENTS}
        self._buyers = [self._account(customer.email) for customer in wanted.customers]
        self._ids: dict[str, int] = {}
        """Of accounts, by e-mail address."""
        self._shelves: dict[str, int] = {}
        self._products: dict[int, int] = {}
        self._orders: dict[int, UUID] = {}
        """By the purchase's place in the year."""

    async def run(self) -> None:
        await self._admin.person()
        await self._open_accounts()
        await self._put_up_shelves()
        await self._stock_articles()
        await self._sell()
        await self._deliver()
        await self._hear_verdicts()

    @property
    def somebody(self) -> Account:
        """The customer who buys most."""
        return self._buyers[0]

    def past(self) -> Past:
        """What `run` has done, at the times at which it is meant to have been done."""
        purchases, opening = self._wanted.purchases, min(purchase.at for purchase in self._wanted.purchases)
        return Past(
            orders={self._orders[number]: purchase.at for number, purchase in enumerate(purchases)},
            reviews={
                (self._products[verdict.article], self._ids[self._buyers[verdict.customer].email]): verdict.at
                for verdict in self._wanted.verdicts
            },
            products={product: opening - timedelta(hours=6 + number) for number, product in self._products.items()},
            users={
                account: opening - timedelta(days=30, hours=number) for number, account in enumerate(self._ids.values())
            },
        )

    def _account(self, email: str) -> Account:
        """Its password follows from the admin's, so that a later run knows it, and nobody else does."""
        password = hashlib.sha256(f"{self._admin.password} {email}".encode()).hexdigest()[:24]
        return Account(self._shop, email, password)

    async def _open_accounts(self) -> None:
        known = {user.email: user.id for user in await self._admin.all_of(lambda api: api.user.list_users())}
        sellers = [(account, name, "seller") for name, account in self._sellers.items()]
        buyers = [
            (account, customer.name, "customer")
            for account, customer in zip(self._buyers, self._wanted.customers, strict=True)
        ]

        async def open_account(account: Account, name: str, role: str) -> bool:
            if account.email in known:
                self._ids[account.email] = known[account.email]
                return False
            self._ids[account.email] = await account.register(name, role)
            return True

        await _each("accounts", [partial(open_account, *one) for one in (*sellers, *buyers)])

    async def _put_up_shelves(self) -> None:
        roots = {root.name: root for root in await self._admin.all_of(lambda api: api.product.list_categories())}
        for department in DEPARTMENTS:
            known = roots.get(department)
            root = known.id if known else await self._put_up({"name": department})
            below = {child.name: child.id for child in known.children} if known else {}
            for shelf in SHELVES:
                if shelf.department == department:
                    found = below.get(shelf.name) or await self._put_up({"name": shelf.name, "parent_id": root})
                    self._shelves[shelf.name] = found

    async def _put_up(self, category: Json) -> int:
        """Its id."""
        return int((await self._admin.call("POST", "/categories", category))["id"])

    async def _stock_articles(self) -> None:
        known = {
            (product.seller_id, product.name): product.id
            for seller in [self._ids[account.email] for account in self._sellers.values()]
            for product in await self._admin.all_of(partial(_products_of, seller))
        }

        async def stock_article(article: Article) -> bool:
            seller = self._sellers[article.shelf.department]
            product = known.get((self._ids[seller.email], article.name))
            if product is None:
                self._products[article.number] = (await seller.call("POST", "/products", self._described(article)))[
                    "id"
                ]
            else:
                self._products[article.number] = product
                if await seller.all_of(lambda api: api.inventory.get_history(product)):
                    return False
            stock = {"quantity": self._wanted.stock_of(article)}
            await seller.call("PUT", f"/inventory/{self._products[article.number]}", stock)
            return True

        await _each("products", [partial(stock_article, article) for article in self._wanted.articles])

    def _described(self, article: Article) -> Json:
        return {
            "name": article.name,
            "description": article.description,
            "price": {"amount": article.amount, "currency": "USD"},
            "category_id": self._shelves[article.shelf.name],
            "images": [self._pictures.draw(article)],
        }

    async def _sell(self) -> None:
        """In the order of the year, and each buyer's one after the other: so the first of a buyer's orders is their first purchase."""
        everything = await self._admin.all_of(lambda api: api.order.list_orders(all_=True))
        placed: dict[int, deque[OrderAnswer]] = defaultdict(deque)
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
            await self._settle(buyer, order.id, purchase.outcome)
            return is_new

        await _each("orders", [partial(sell, number, one) for number, one in enumerate(self._wanted.purchases)])

    async def _place(self, buyer: Account, purchase: Purchase) -> OrderAnswer:
        person, key = await buyer.person(), str(uuid4())
        items = [(self._products[article], quantity) for article, quantity in purchase.lines.items()]
        return await insist(lambda: person.order(*items, key=key), _PATIENCE)

    async def _settle(self, buyer: Account, order: UUID, outcome: Outcome) -> None:
        if outcome is Outcome.ABANDONED:
            await buyer.call("DELETE", f"/orders/{order}")
            return
        if outcome is Outcome.SECOND_CARD:
            with contextlib.suppress(Declined):
                await self._pay(buyer, order, "pm_card_chargeDeclined")
        await self._pay(buyer, order, "pm_card_visa")

    async def _pay(self, buyer: Account, order: UUID, card: str) -> None:
        """Raises Declined. Where an interrupted run has paid, there is nothing to do."""
        person, key = await buyer.person(), str(uuid4())
        try:
            await insist(lambda: person.pay(order, card, key), _PATIENCE)
        except ProblemError as refusal:
            if refusal.code == "card_declined":
                raise Declined from refusal
            if refusal.code not in ("payment_exists", "order_not_payable"):
                raise

    async def _deliver(self) -> None:
        """Takes each order to where one of its age is."""
        status = await self._confirmed()

        async def deliver(number: int, purchase: Purchase) -> bool:
            order = self._orders[number]
            return await self._bring(order, status[order], purchase)

        await _each("deliveries", [partial(deliver, number, one) for number, one in enumerate(self._wanted.purchases)])

    async def _bring(self, order: UUID, status: str, purchase: Purchase) -> bool:
        if purchase.outcome is Outcome.RETURNED and status == "confirmed":
            await self._buyers[purchase.customer].call("DELETE", f"/orders/{order}")
            return True
        age = datetime.now(UTC) - purchase.at
        behind = [step for step, after in _UNDER_WAY if purchase.outcome in KEPT and age >= after]
        ahead = behind[behind.index(status) + 1 :] if status in behind else behind if status == "confirmed" else []
        for step in ahead:
            await self._admin.call("PUT", f"/orders/{order}/status", {"status": step})
        return bool(ahead)

    async def _confirmed(self) -> Mapping[UUID, str]:
        """The status of each order, once none waits for the news that it is paid."""
        ours = set(self._orders.values())
        async with asyncio.timeout(_PATIENCE):
            while True:
                waiting = await self._admin.all_of(lambda api: api.order.list_orders(all_=True, status="pending"))
                if ours.isdisjoint(order.id for order in waiting):
                    break
                await asyncio.sleep(1)
        everything = await self._admin.all_of(lambda api: api.order.list_orders(all_=True))
        return {order.id: order.status for order in everything}

    async def _hear_verdicts(self) -> None:
        authors = {
            product: {review.author_id for review in await self._admin.all_of(partial(_reviews_of, product))}
            for product in {self._products[verdict.article] for verdict in self._wanted.verdicts}
        }

        async def hear(verdict: Verdict) -> bool:
            buyer, product = self._buyers[verdict.customer], self._products[verdict.article]
            if self._ids[buyer.email] in authors[product]:
                return False
            said = {"rating": verdict.stars, "title": verdict.title, "text": verdict.text}
            await buyer.call("POST", f"/products/{product}/reviews", said)
            return True

        await _each("reviews", [partial(hear, verdict) for verdict in self._wanted.verdicts])


def _products_of(seller: int, api: Client) -> AsyncIterable[ListedAnswer]:
    return api.product.list_products(seller_id=seller)


def _reviews_of(product: int, api: Client) -> AsyncIterable[ReviewResponse]:
    return api.review.list_reviews(product)


async def _each(what: str, steps: Iterable[Callable[[], Awaitable[bool]]]) -> None:
    """Runs the steps, begun in their order, some at once; says how far it is, and how much of it was there already."""
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
        prog="python -m shop_e2e.seed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
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
            "ADMIN_PASSWORD is not set: make run-all keeps it in .shop/local/secrets.env, a cluster in the Secret <name>-admin"
        )
    stack = _stack(chosen.history) if chosen.history else None
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    wanted = assortment(chosen.seed, chosen.products, chosen.customers, chosen.orders, until)
    print(f"seeding {chosen.url}: a year until {until:%Y-%m-%d %H:%M} UTC", flush=True)
    async with Shop(chosen.url) as shop:
        await shop.call("GET", "/categories")
        seeding = Seeding(
            Account(shop, chosen.admin_email, password), wanted, Pictures(chosen.pictures, chosen.pictures_url)
        )
        await seeding.run()
        if stack is not None:
            await _tell_history(stack, seeding.past())
    print(
        f"its pictures: python -m http.server --bind 127.0.0.1 --directory {chosen.pictures} {_port(chosen.pictures_url)}"
    )
    print(f"a customer to log in as: {seeding.somebody.email}, password {seeding.somebody.password}")


def _stack(name: str) -> Stack:
    """The databases and the broker of one that runs. Raises StackError."""
    return Stack(Plan(name, Path(), design_ports(), redis_database=0), Servers.from_environment())


async def _tell_history(stack: Stack, past: Past) -> None:
    """Raises SeedError where the books do not agree."""
    began = time.monotonic()
    async with books.opened(stack) as kept:
        await kept.come_to_agree(_PATIENCE)
        await backdate(stack, past)
        findings = await kept.disagreements()
    if findings:
        raise SeedError("the books do not agree any more: " + "; ".join(map(str, findings)))
    print(f"  {'history':12} {len(past.orders):5} orders in a year; the books agree {time.monotonic() - began:4.0f} s")


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or 80


if __name__ == "__main__":
    main()
