"""Everything the shop answers: each method of each path, which service, who may ask, how often. Pure.

What is not in the table is not served. The roles are the coarse half of authorization: who is not among them can never do
this, and troubles no service. Whose thing it is, each service decides for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote

from gateway_service.domain.errors import MethodNotAllowed, NoSuchRoute
from gateway_service.domain.limits import Policy


class Upstream(StrEnum):
    USER = "user"
    PRODUCT = "product"
    ORDER = "order"
    INVENTORY = "inventory"
    REVIEW = "review"
    PAYMENT = "payment"
    NOTIFICATION = "notification"


class Role(StrEnum):
    """Whom a token says its bearer is, or nobody in particular."""

    ANONYMOUS = "anonymous"
    CUSTOMER = "customer"
    SELLER = "seller"
    ADMIN = "admin"


class Ownership(StrEnum):
    """How far an answer depends on who asks, beyond their role."""

    NONE = "none"
    """Not at all."""
    SELF = "self"
    """It is about the caller: their cart, their orders, a review in their name."""
    OWNER = "owner"
    """The request names a thing that belongs to somebody, who alone may (besides an admin, where the row admits them)."""


Roles = frozenset[Role]
ANYBODY: Roles = frozenset(Role)
USERS: Roles = ANYBODY - {Role.ANONYMOUS}
SELLERS: Roles = frozenset({Role.SELLER, Role.ADMIN})
ADMINS: Roles = frozenset({Role.ADMIN})

V1 = "/api/v1"


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    upstream: Upstream
    roles: Roles
    ownership: Ownership = Ownership.NONE
    policy: Policy | None = None
    """None until made whole: what changes nothing is read, the rest is written."""
    bears_secrets: bool = False
    """Its answer may hold a token or a client secret, so it is neither stored nor compressed."""

    @property
    def is_public(self) -> bool:
        return Role.ANONYMOUS in self.roles

    @property
    def limit(self) -> Policy:
        return self.policy or (Policy.READ if self.method == "GET" else Policy.WRITE)


def _rows() -> Sequence[Route]:
    user, product, order, inventory = Upstream.USER, Upstream.PRODUCT, Upstream.ORDER, Upstream.INVENTORY
    review, payment, notification = Upstream.REVIEW, Upstream.PAYMENT, Upstream.NOTIFICATION
    none, own, owner = Ownership.NONE, Ownership.SELF, Ownership.OWNER
    auth = Policy.AUTH
    return (
        Route("GET", "/.well-known/jwks.json", user, ANYBODY),
        Route("POST", f"{V1}/auth/register", user, ANYBODY, none, auth, bears_secrets=True),
        Route("POST", f"{V1}/auth/login", user, ANYBODY, none, auth, bears_secrets=True),
        Route("POST", f"{V1}/auth/refresh", user, ANYBODY, none, bears_secrets=True),
        Route("POST", f"{V1}/auth/logout", user, ANYBODY, none, bears_secrets=True),
        Route("POST", f"{V1}/auth/forgot-password", user, ANYBODY, none, auth, bears_secrets=True),
        Route("POST", f"{V1}/auth/reset-password", user, ANYBODY, none, auth, bears_secrets=True),
        Route("POST", f"{V1}/auth/verify-email", user, ANYBODY, none, auth, bears_secrets=True),
        Route("GET", f"{V1}/users/me", user, USERS, own),
        Route("PUT", f"{V1}/users/me", user, USERS, own),
        Route("DELETE", f"{V1}/users/me", user, USERS, own),
        Route("POST", f"{V1}/users/me/email", user, USERS, own, auth),
        Route("POST", f"{V1}/users/me/verify-email", user, USERS, own, auth),
        Route("POST", f"{V1}/users/me/password", user, USERS, own, auth),
        Route("GET", f"{V1}/users/me/sessions", user, USERS, own),
        Route("DELETE", f"{V1}/users/me/sessions/{{session_id}}", user, USERS, owner),
        Route("GET", f"{V1}/users/me/export", user, USERS, own),
        Route("GET", f"{V1}/users", user, ADMINS),
        Route("GET", f"{V1}/users/{{user_id}}", user, USERS, owner),
        Route("PUT", f"{V1}/users/{{user_id}}", user, USERS, owner),
        Route("DELETE", f"{V1}/users/{{user_id}}", user, USERS, owner),
        Route("GET", f"{V1}/products", product, ANYBODY),
        Route("POST", f"{V1}/products", product, SELLERS, own),
        Route("GET", f"{V1}/products/suggest", product, ANYBODY),
        Route("GET", f"{V1}/products/{{product_id}}", product, ANYBODY),
        Route("PUT", f"{V1}/products/{{product_id}}", product, SELLERS, owner),
        Route("DELETE", f"{V1}/products/{{product_id}}", product, SELLERS, owner),
        Route("GET", f"{V1}/products/{{product_id}}/recommendations", product, ANYBODY),
        Route("GET", f"{V1}/products/{{product_id}}/reviews", review, ANYBODY),
        Route("POST", f"{V1}/products/{{product_id}}/reviews", review, USERS, own),
        Route("GET", f"{V1}/products/{{product_id}}/rating", review, ANYBODY),
        Route("GET", f"{V1}/categories", product, ANYBODY),
        Route("POST", f"{V1}/categories", product, ADMINS),
        Route("PUT", f"{V1}/categories/{{category_id}}", product, ADMINS),
        Route("DELETE", f"{V1}/categories/{{category_id}}", product, ADMINS),
        Route("GET", f"{V1}/reviews", review, ADMINS),
        Route("PUT", f"{V1}/reviews/{{review_id}}", review, USERS, owner),
        Route("DELETE", f"{V1}/reviews/{{review_id}}", review, USERS, owner),
        Route("POST", f"{V1}/reviews/{{review_id}}/helpful", review, USERS, own),
        Route("DELETE", f"{V1}/reviews/{{review_id}}/helpful", review, USERS, own),
        Route("PUT", f"{V1}/reviews/{{review_id}}/moderation", review, ADMINS),
        Route("GET", f"{V1}/cart", order, ANYBODY, own),
        Route("POST", f"{V1}/cart", order, ANYBODY, own, bears_secrets=True),
        Route("DELETE", f"{V1}/cart", order, ANYBODY, own),
        Route("PUT", f"{V1}/cart/{{product_id}}", order, ANYBODY, own, bears_secrets=True),
        Route("DELETE", f"{V1}/cart/{{product_id}}", order, ANYBODY, own),
        Route("GET", f"{V1}/orders", order, USERS, own),
        Route("POST", f"{V1}/orders", order, USERS, own),
        Route("GET", f"{V1}/orders/{{order_id}}", order, USERS, owner),
        Route("DELETE", f"{V1}/orders/{{order_id}}", order, USERS, owner),
        Route("PUT", f"{V1}/orders/{{order_id}}/status", order, ADMINS),
        Route("GET", f"{V1}/addresses", order, USERS, own),
        Route("POST", f"{V1}/addresses", order, USERS, own),
        Route("PUT", f"{V1}/addresses/{{address_id}}", order, USERS, owner),
        Route("DELETE", f"{V1}/addresses/{{address_id}}", order, USERS, owner),
        Route("GET", f"{V1}/analytics/sales", order, SELLERS, own),
        Route("GET", f"{V1}/analytics/top-products", order, SELLERS, own),
        Route("GET", f"{V1}/analytics/conversion", order, SELLERS, own),
        Route("GET", f"{V1}/inventory/{{product_id}}", inventory, ANYBODY),
        Route("POST", f"{V1}/inventory/check-availability", inventory, ANYBODY, none, Policy.READ),
        Route("PUT", f"{V1}/inventory/{{product_id}}", inventory, SELLERS, owner),
        Route("POST", f"{V1}/inventory/{{product_id}}/adjustments", inventory, SELLERS, owner),
        Route("GET", f"{V1}/inventory/{{product_id}}/history", inventory, SELLERS, owner),
        Route("GET", f"{V1}/payments", payment, USERS, own, bears_secrets=True),
        Route("POST", f"{V1}/payments", payment, USERS, owner, bears_secrets=True),
        Route("GET", f"{V1}/payments/{{payment_id}}", payment, USERS, owner, bears_secrets=True),
        Route("GET", f"{V1}/payments/order/{{order_id}}", payment, USERS, owner, bears_secrets=True),
        Route("POST", f"{V1}/payments/{{payment_id}}/confirm", payment, USERS, owner, bears_secrets=True),
        Route("POST", f"{V1}/payments/{{payment_id}}/cancel", payment, USERS, owner, bears_secrets=True),
        Route("POST", f"{V1}/payments/{{payment_id}}/refund", payment, ADMINS),
        Route("GET", f"{V1}/payments/{{payment_id}}/refunds", payment, USERS, owner),
        Route("GET", f"{V1}/payment-methods", payment, USERS, own),
        Route("POST", f"{V1}/payment-methods", payment, USERS, own, bears_secrets=True),
        Route("DELETE", f"{V1}/payment-methods/{{payment_method_id}}", payment, USERS, owner),
        Route("POST", f"{V1}/webhooks/stripe", payment, ANYBODY, none, Policy.WEBHOOK),
        Route("POST", f"{V1}/webhooks/twilio", notification, ANYBODY, none, Policy.WEBHOOK),
        Route("GET", f"{V1}/notifications", notification, USERS, own),
        Route("GET", f"{V1}/notifications/preferences", notification, USERS, own),
        Route("PUT", f"{V1}/notifications/preferences", notification, USERS, own),
        Route("GET", f"{V1}/notifications/dead", notification, ADMINS),
        Route("POST", f"{V1}/notifications/{{notification_id}}/retry", notification, ADMINS),
    )


ROUTES = _rows()


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of the authorization matrix."""

    method: str
    path: str
    roles: Roles
    ownership: Ownership


def matrix() -> list[Cell]:
    """Who may ask for what: what tests of authorization are generated from."""
    return [Cell(route.method, route.path, route.roles, route.ownership) for route in ROUTES]


@dataclass(slots=True)
class _Node:
    """A place in the tree of paths: the methods that end here, and the segments that go on."""

    methods: dict[str, Route] = field(default_factory=dict)
    named: dict[str, "_Node"] = field(default_factory=dict)
    variable: "_Node | None" = None


class Table:
    """Finds rows by their path, where a segment that is spelt out comes before `{one}` that is not."""

    def __init__(self, routes: Sequence[Route] = ROUTES) -> None:
        self._root = _Node()
        for route in routes:
            self._place(route.path.split("/")).methods[route.method] = route

    def find(self, method: str, path: str) -> Route:
        """HEAD is answered as GET is. Raises NoSuchRoute, MethodNotAllowed."""
        methods = self.methods(path)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise MethodNotAllowed(method, _allowed(methods))
        return route

    def methods(self, path: str) -> dict[str, Route]:
        """Raises NoSuchRoute. One slash at the end makes no difference."""
        segments = path.split("/")
        if segments[-1] == "":
            segments.pop()
        node = _descend(self._root, segments, 0)
        if node is None:
            raise NoSuchRoute
        return node.methods

    def _place(self, segments: Sequence[str]) -> _Node:
        node = self._root
        for segment in segments:
            if segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.named.setdefault(segment, _Node())
        return node


def _descend(node: _Node, segments: Sequence[str], depth: int) -> _Node | None:
    if depth == len(segments):
        return node if node.methods else None
    segment = segments[depth]
    following = node.named.get(segment)
    found = None if following is None else _descend(following, segments, depth + 1)
    if found is None and node.variable is not None and segment:
        return _descend(node.variable, segments, depth + 1)
    return found


def _allowed(methods: dict[str, Route]) -> list[str]:
    with_head = {*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}
    return sorted(with_head)


def versioned(path: str) -> str:
    """`/api/...` is another name of `/api/v1/...`."""
    if not path.startswith("/api/") or path.startswith("/api/v1/"):
        return path
    first = path[5:].partition("/")[0]
    return path if first[:1] == "v" and first[1:].isdigit() else f"{V1}/{path[5:]}"


def as_served(path: str) -> str:
    """A path as services read it, without its escapes: what is decided here and there is decided on the same."""
    return unquote(path) if "%" in path else path
