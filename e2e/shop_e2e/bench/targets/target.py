"""What the benchmark needs of a shop."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shop_e2e.bench.catalogue import Catalogue
from shop_e2e.bench.http_client import Reply, Sender

READS = ("list", "filter", "details", "search", "suggest")
ACCOUNTS = ("register", "login")
STEPS = ("cart", "place", "pay")
JOURNEYS = ("journey", "mix")
RACE = "race"
OVERLOAD = "overload"
WORKS = (*READS, *ACCOUNTS, *STEPS, *JOURNEYS, RACE, OVERLOAD)
DESCRIPTIONS: Mapping[str, str] = {
    "list": "one of the first pages of 20 products, newest first or as the shop sorts them",
    "filter": "20 products of one category, cheapest first",
    "details": "the page of one product, any of the catalogue",
    "search": "20 products that match a word",
    "suggest": "suggestions for the first three letters of a word",
    "register": "a new account, its password hashed as the shop does by default",
    "login": "log in with e-mail address and password",
    "cart": "add a product to the cart of a customer who is logged in",
    "place": "turn that cart into an order that awaits its payment",
    "pay": "pay that order, with a provider that is simulated in the shop's process",
    "journey": "five requests of a customer who is logged in: list, details, cart, place, pay",
    "mix": "20 reads of all kinds, then cart, place and pay",
    "race": "20 customers want one of 5 units at the same time",
    "overload": "journeys begin three times as often as they were made, however many have not ended",
}


class Refused(Exception):
    """A request was not answered as it should be."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.status}: {reply.body[:300].decode(errors='replace')}")
        self.reply = reply

    @property
    def is_temporary(self) -> bool:
        """Tells whether the shop asks to send the request again later."""
        return self.reply.status in (429, 503)


@dataclass(slots=True)
class Buyer:
    """A customer, and where they are in their purchase."""

    email: str
    password: str = field(repr=False)
    token: str | None = None
    order: str | None = None


def new_buyer() -> Buyer:
    return Buyer(f"buyer-{uuid.uuid4().hex[:16]}@example.com", uuid.uuid4().hex)


async def enroll(target: Target, connection: Sender, buyer: Buyer) -> None:
    """Registers a buyer, and logs them in. Raises Refused."""
    await target.register(connection, buyer)
    await target.log_in(connection, buyer)


class TargetError(Exception):
    """A target cannot be prepared or started; the message says why."""


class Target(Protocol):
    """One shop. Between `prepare` and `remove` it is started and stopped once per round; its data stays."""

    @property
    def name(self) -> str: ...
    @property
    def works(self) -> Sequence[str]:
        """The work that it can do, of WORKS."""
        ...

    @property
    def stores(self) -> Sequence[str]:
        """The servers that it uses, of `servers.STORES`: what they use counts as its own."""
        ...

    @property
    def port(self) -> int: ...
    async def prepare(self, catalogue: Catalogue) -> None:
        """Installs it and creates its databases and the catalogue; it does not run afterwards. Raises TargetError."""
        ...

    async def grow(self, size: int) -> int:
        """Multiplies the products while it does not run, and returns how many there are then."""
        ...

    async def start(self) -> None:
        """Returns once it is healthy by its own health check. Raises TargetError."""
        ...

    async def stop(self) -> None: ...
    async def remove(self) -> None: ...
    def facts(self) -> Mapping[str, str]:
        """Returns its versions and the settings that differ from its defaults, for the report."""
        ...

    def read(self, work: str, number: int) -> bytes:
        """Returns the `number`-th request of a work of READS."""
        ...

    def rows(self, work: str, reply: Reply) -> int:
        """Returns how many rows an answer to a work of READS has. Raises Refused."""
        ...

    def is_answer(self, reply: Reply) -> bool:
        """Tells whether a read was answered, at no more than the cost of a glance."""
        ...

    async def register(self, connection: Sender, buyer: Buyer) -> None: ...
    async def log_in(self, connection: Sender, buyer: Buyer) -> None: ...
    async def add_to_cart(self, connection: Sender, buyer: Buyer, number: int) -> None:
        """Adds one unit of a product that never sells out, the `number`-th."""
        ...

    async def add_race_product(self, connection: Sender, buyer: Buyer, race: int) -> None: ...
    async def place(self, connection: Sender, buyer: Buyer) -> None: ...
    async def pay(self, connection: Sender, buyer: Buyer) -> None: ...


class SellsNothing:
    """What a target has that only lists products."""

    async def register(self, connection: Sender, buyer: Buyer) -> None:
        raise TargetError("this target has no accounts")

    async def log_in(self, connection: Sender, buyer: Buyer) -> None:
        raise TargetError("this target has no accounts")

    async def add_to_cart(self, connection: Sender, buyer: Buyer, number: int) -> None:
        raise TargetError("this target has no carts")

    async def add_race_product(self, connection: Sender, buyer: Buyer, race: int) -> None:
        raise TargetError("this target has no carts")

    async def place(self, connection: Sender, buyer: Buyer) -> None:
        raise TargetError("this target has no orders")

    async def pay(self, connection: Sender, buyer: Buyer) -> None:
        raise TargetError("this target has no payments")
