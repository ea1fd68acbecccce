"""The seed data of a believable shop: what it sells, who buys there, and what they did in a year. Pure: the same seed
and numbers give the same shop.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import accumulate

YEAR = timedelta(days=365)


class PurchaseOutcome(StrEnum):
    """What a buyer does with an order after placing it."""

    KEPT = "kept"
    SECOND_CARD = "second card"
    """The order is kept, and paid with a second card after the first one was declined."""
    ABANDONED = "abandoned"
    """The order is cancelled before it is paid."""
    RETURNED = "returned"
    """The order is cancelled after it is paid."""


KEPT = (PurchaseOutcome.KEPT, PurchaseOutcome.SECOND_CARD)


@dataclass(frozen=True, slots=True)
class Subcategory:
    """A leaf of the category tree: what it contains, and the price range in cents of USD."""

    department: str
    name: str
    things: Sequence[str]
    cheapest: int
    dearest: int


@dataclass(frozen=True, slots=True)
class SeedProduct:
    """A product to create. `number` counts from 0; lower numbers are more popular."""

    number: int
    subcategory: Subcategory
    name: str
    description: str
    amount: int
    left: int
    """The units in stock after all purchases."""


@dataclass(frozen=True, slots=True)
class Customer:
    number: int
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order to place: the customer, the quantity of each product, the time, and what becomes of the order."""

    customer: int
    lines: Mapping[int, int]
    at: datetime
    outcome: PurchaseOutcome


@dataclass(frozen=True, slots=True)
class SeedReview:
    """A customer's review of a product that they have kept."""

    customer: int
    product: int
    stars: int
    title: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SeedData:
    products: Sequence[SeedProduct]
    customers: Sequence[Customer]
    purchases: Sequence[Purchase]
    """Purchases in chronological order."""
    reviews_to_write: Sequence[SeedReview]

    def stock_of(self, product: SeedProduct) -> int:
        """Returns the stock that a product needs at the beginning, so that it never runs out."""
        return product.left + sum(purchase.lines.get(product.number, 0) for purchase in self.purchases)


def seed_data(seed: int, products: int, customers: int, orders: int, until: datetime) -> SeedData:
    """Generates a shop and its year, which ends at `until`."""
    stocked = [_product(seed, number) for number in range(products)]
    people = [_customer(number) for number in range(customers)]
    purchases = _purchases(random.Random(f"{seed} purchases"), stocked, customers, orders, until)
    return SeedData(stocked, people, purchases, _reviews(random.Random(f"{seed} verdicts"), purchases, until))


def _product(seed: int, number: int) -> SeedProduct:
    chance = random.Random(f"{seed} article {number}")
    subcategory, turn = SUBCATEGORIES[number % len(SUBCATEGORIES)], number // len(SUBCATEGORIES)
    thing = subcategory.things[turn % len(subcategory.things)]
    make = _MAKES[(number * 7 + turn) % len(_MAKES)]
    edition = (
        "" if turn < len(subcategory.things) else f" {_EDITIONS[turn // len(subcategory.things) % len(_EDITIONS)]}"
    )
    return SeedProduct(
        number=number,
        subcategory=subcategory,
        name=f"{make} {thing.lower()}{edition}",
        description=f"{thing} by {make}. {chance.choice(_PROMISES)}",
        amount=chance.randrange(subcategory.cheapest, subcategory.dearest, 100) + 99,
        left=chance.choices((0, chance.randint(1, 5), chance.randint(6, 120)), weights=(1, 2, 17))[0],
    )


def _customer(number: int) -> Customer:
    first, last = _FIRST[number % len(_FIRST)], _LAST[number * 3 % len(_LAST)]
    return Customer(number, f"{first} {last}", f"{first}.{last}.{number}@example.com".lower())


def _purchases(
    chance: random.Random, products: Sequence[SeedProduct], customers: int, orders: int, until: datetime
) -> list[Purchase]:
    times = sorted(_moment(chance, until) for _ in range(orders))
    loyalty = [1 / (customer + 6) for customer in range(customers)]
    return [
        Purchase(
            customer=chance.choices(range(customers), weights=loyalty)[0],
            lines={product: chance.choices((1, 2, 3), weights=(8, 2, 1))[0] for product in _basket(chance, products)},
            at=at,
            outcome=chance.choices(list(PurchaseOutcome), weights=(88, 3, 5, 4))[0],
        )
        for at in times
    ]


def _moment(chance: random.Random, until: datetime) -> datetime:
    """Picks a time of the year; late in the year, before Christmas, weekends and evenings are likelier."""
    days = [until - YEAR + timedelta(days=day) for day in range(YEAR.days)]
    weights = [
        (0.7 + 0.6 * number / YEAR.days) * _BY_WEEKDAY[day.weekday()] * _BY_MONTH.get(day.month, 1.0)
        for number, day in enumerate(days)
    ]
    day = chance.choices(days, cum_weights=list(accumulate(weights)))[0].replace(minute=0, second=0, microsecond=0)
    hour = chance.choices(range(24), weights=_BY_HOUR)[0]
    return min(day.replace(hour=hour) + timedelta(seconds=chance.randrange(3600)), until - timedelta(hours=1))


def _basket(chance: random.Random, products: Sequence[SeedProduct]) -> list[int]:
    """Picks products that go together: the first by popularity, the others from its department."""
    popularity = [1 / (product.number + 8) for product in products]
    first = chance.choices(products, weights=popularity)[0]
    beside = [
        one for one in products if one.subcategory.department == first.subcategory.department and one is not first
    ]
    more = chance.choices((0, 1, 2, 3), weights=(50, 30, 14, 6))[0]
    others = chance.choices(beside, weights=[popularity[one.number] for one in beside], k=more) if beside else []
    return list(dict.fromkeys(one.number for one in (first, *others)))


def _reviews(chance: random.Random, purchases: Sequence[Purchase], until: datetime) -> list[SeedReview]:
    """Generates at most one review per kept product and customer, some weeks after the purchase."""
    found: dict[tuple[int, int], SeedReview] = {}
    for purchase in purchases:
        for product in purchase.lines:
            review = _review(chance, purchase, product)
            if chance.random() < _REVIEW_SHARE and purchase.outcome in KEPT:
                found.setdefault((purchase.customer, product), review)
    return [review for review in found.values() if review.at <= until]


def _review(chance: random.Random, purchase: Purchase, product: int) -> SeedReview:
    stars = min(5, max(1, round(chance.gauss(4.6 - product % 7 * 0.15, 0.8))))
    at = purchase.at + timedelta(days=chance.randint(8, 30), seconds=chance.randrange(86_400))
    return SeedReview(purchase.customer, product, stars, *chance.choice(_SAID[stars]), at)


def _subcategories(department: str, shelves: Mapping[str, tuple[int, int, Sequence[str]]]) -> list[Subcategory]:
    return [Subcategory(department, name, things, low, high) for name, (low, high, things) in shelves.items()]


SUBCATEGORIES: Sequence[Subcategory] = (
    *_subcategories(
        "Kitchen",
        {
            "Coffee": (900, 24_900, ("Espresso cup", "Hand grinder", "Moka pot", "Pour-over dripper", "Milk jug")),
            "Cookware": (2900, 19_900, ("Frying pan", "Stock pot", "Wok", "Casserole", "Saucepan")),
            "Knives": (1900, 17_900, ("Chef's knife", "Paring knife", "Bread knife", "Whetstone", "Cutting board")),
            "Tableware": (700, 7900, ("Dinner plate", "Soup bowl", "Water glass", "Serving dish", "Carafe")),
        },
    ),
    *_subcategories(
        "Living",
        {
            "Lighting": (2900, 29_900, ("Desk lamp", "Floor lamp", "Pendant lamp", "Reading light", "Lantern")),
            "Textiles": (1500, 14_900, ("Wool blanket", "Linen cushion", "Rug", "Curtain", "Bath towel")),
            "Storage": (900, 12_900, ("Shelf", "Wall hook", "Basket", "Magazine rack", "Jewellery box")),
            "Plants": (600, 8900, ("Plant pot", "Watering can", "Plant stand", "Terrarium", "Herb planter")),
        },
    ),
    *_subcategories(
        "Office",
        {
            "Paper": (400, 4900, ("Notebook", "Sketchbook", "Calendar", "Letter set", "Index cards")),
            "Writing": (300, 15_900, ("Fountain pen", "Mechanical pencil", "Ink", "Pencil case", "Ruler")),
            "Desk": (900, 24_900, ("Desk mat", "Monitor stand", "Bookend", "Pen tray", "Laptop sleeve")),
            "Audio": (3900, 39_900, ("Headphones", "Speaker", "Microphone", "Earphones", "Record player")),
        },
    ),
    *_subcategories(
        "Outdoors",
        {
            "Hiking": (1900, 24_900, ("Backpack", "Trekking poles", "Water bottle", "Compass", "Rain cover")),
            "Camping": (1500, 39_900, ("Tent", "Sleeping bag", "Camp stove", "Hammock", "Folding chair")),
            "Cycling": (900, 14_900, ("Bike light", "Pannier", "Bell", "Repair kit", "Helmet")),
            "Garden": (700, 9900, ("Hand trowel", "Secateurs", "Bird feeder", "Gardening gloves", "Hose")),
        },
    ),
    *_subcategories(
        "Play",
        {
            "Board games": (1200, 6900, ("Strategy game", "Card game", "Chess set", "Puzzle", "Dice set")),
            "Toys": (900, 8900, ("Building blocks", "Wooden train", "Kite", "Stuffed bear", "Marble run")),
            "Crafts": (600, 6900, ("Watercolours", "Knitting kit", "Clay", "Origami paper", "Embroidery hoop")),
            "Music": (1900, 29_900, ("Ukulele", "Kalimba", "Harmonica", "Music stand", "Cajon")),
        },
    ),
)
DEPARTMENTS = tuple(dict.fromkeys(subcategory.department for subcategory in SUBCATEGORIES))

_REVIEW_SHARE = 0.35
"""The share of customers who review a product that they keep."""
_BY_WEEKDAY = (0.90, 0.85, 0.90, 1.00, 1.25, 1.55, 1.40)
"""Demand by weekday, Monday first."""
_BY_MONTH = {2: 0.85, 7: 0.85, 8: 0.80, 11: 1.40, 12: 1.60}
_BY_HOUR = (2, 1, 1, 1, 1, 2, 4, 7, 9, 10, 11, 12, 14, 12, 10, 10, 11, 13, 16, 19, 21, 18, 11, 5)
_MAKES = ("Alder", "Brannt", "Caldera", "Dunmore", "Elling", "Fjell", "Garrow", "Halden", "Ibis", "Juniper", "Karst")
_EDITIONS = ("Studio", "Classic", "Mini", "Grande", "Noir")
_PROMISES = (
    "Made to be repaired, with spare parts for ten years.",
    "Small enough for a city flat, good enough for a lifetime.",
    "A gift that gets used.",
    "Designed with people who do this every day.",
)
_FIRST = (
    "Ada", "Bela", "Chioma", "Dario", "Edith", "Farid", "Grace", "Hana", "Igor", "Jonas", "Kofi", "Lena", "Mei", "Nils",
    "Olga", "Paulo", "Quynh", "Rosa", "Sven", "Tara",
)  # fmt: skip
_LAST = (
    "Lovelace", "Bartok", "Okafor", "Rossi", "Clarke", "Haddad", "Hopper", "Sato", "Petrov", "Weber", "Mensah",
    "Fischer", "Chen", "Holm", "Ivanova", "Silva", "Tran", "Parks", "Lund",
)  # fmt: skip
_SAID: Mapping[int, Sequence[tuple[str, str]]] = {
    1: (("Broke within a week", "I expected more for the price."), ("Not as shown", "Smaller than it looks.")),
    2: (("Could be better", "It works, but the finish is poor."), ("Disappointed", "Arrived with a scratch.")),
    3: (("It is all right", "Does what it should, nothing more."), ("Fine", "Good idea, so-so workmanship.")),
    4: (("Good", "Would buy again, though it took a while to arrive."), ("Solid", "Well made, and a fair price.")),
    5: (("Lovely", "Better than I had hoped."), ("Use it every day", "A joy each time."), ("Perfect", "A fine gift.")),
}
