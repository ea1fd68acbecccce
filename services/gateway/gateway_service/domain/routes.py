"""Which service answers which path, and which requests need a token. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Upstream(StrEnum):
    USER = "user"
    PRODUCT = "product"
    ORDER = "order"
    INVENTORY = "inventory"
    REVIEW = "review"


EVERYTHING = None
READING = frozenset({"GET", "HEAD", "OPTIONS"})
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Route:
    """`path` and all below it; `{}` stands for one segment. `public` are the methods that need no token."""

    path: str
    upstream: Upstream
    public: frozenset[str] | None
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        segments = re.escape(self.path).replace(r"\{\}", "[^/]+")
        object.__setattr__(self, "pattern", re.compile(rf"{segments}(?:/|$)"))

    def needs_token(self, method: str) -> bool:
        """The service decides what the token permits; a request without one need not trouble it."""
        return self.public is not EVERYTHING and method not in self.public


ROUTES = (
    Route("/.well-known/jwks.json", Upstream.USER, EVERYTHING),
    Route("/api/v1/auth", Upstream.USER, EVERYTHING),
    Route("/api/v1/users", Upstream.USER, NOTHING),
    Route("/api/v1/products/{}/reviews", Upstream.REVIEW, READING),
    Route("/api/v1/products", Upstream.PRODUCT, READING),
    Route("/api/v1/categories", Upstream.PRODUCT, READING),
    Route("/api/v1/reviews", Upstream.REVIEW, READING),
    Route("/api/v1/orders", Upstream.ORDER, NOTHING),
    Route("/api/v1/inventory/check-availability", Upstream.INVENTORY, EVERYTHING),
    Route("/api/v1/inventory", Upstream.INVENTORY, READING),
)
"""In order: the first that matches serves."""


def find(path: str, routes: Sequence[Route] = ROUTES) -> Route | None:
    for route in routes:
        if route.pattern.match(path):
            return route
    return None


_UNVERSIONED = re.compile(r"/api/(?!v\d+(?:/|$))")


def versioned(path: str) -> str:
    """`/api/...` is another name of `/api/v1/...`."""
    return _UNVERSIONED.sub("/api/v1/", path, count=1) if path.startswith("/api/") else path
