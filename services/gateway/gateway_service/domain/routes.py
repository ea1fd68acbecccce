"""The routes of the gateway: for each method of each path the upstream, the roles that may call it, and its rate limit.

A request that is not in the table is not served. The roles are the first half of authorization: a caller without one of
them may never make this request, and it reaches no upstream. The other half is ownership, which each service checks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from urllib.parse import unquote

from gateway_service.domain.errors import MethodNotAllowed, NoSuchRoute
from gateway_service.domain.rate_limits import RateLimitPolicy


class Upstream(StrEnum):
    """The services behind the gateway."""

    USER = "user"
    PRODUCT = "product"
    ORDER = "order"
    INVENTORY = "inventory"
    REVIEW = "review"
    PAYMENT = "payment"
    NOTIFICATION = "notification"


class Role(StrEnum):
    """The role of a caller: the one in its access token, or `anonymous` without a valid token."""

    ANONYMOUS = "anonymous"
    CUSTOMER = "customer"
    SELLER = "seller"
    ADMIN = "admin"


class Ownership(StrEnum):
    """How a response depends on the identity of the caller, beyond its role."""

    NONE = "none"
    """It does not."""
    SELF = "self"
    """The request is about the caller's own objects: its cart, its orders, a review in its name."""
    OWNER = "owner"
    """The request names an object that only its owner may access (and an admin, if the service allows that)."""


class Priority(IntEnum):
    """Which request gets a slot first: the further a purchase is, the more work a refusal would waste."""

    PAYMENT = 0
    ORDER = 1
    WRITE = 2
    """Carts, and all else that changes something."""
    READ = 3


Roles = frozenset[Role]
PUBLIC: Roles = frozenset(Role)
"""Every caller, with or without a token."""
AUTHENTICATED: Roles = PUBLIC - {Role.ANONYMOUS}
"""Every caller with a valid token."""
SELLERS_AND_ADMINS: Roles = frozenset({Role.SELLER, Role.ADMIN})
ADMINS: Roles = frozenset({Role.ADMIN})

V1 = "/api/v1"


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path: a row of the table."""

    method: str
    path: str
    upstream: Upstream
    roles: Roles
    ownership: Ownership = Ownership.NONE
    policy: RateLimitPolicy | None = None
    """None: `read` for GET, and `write` for other methods."""
    contains_secrets: bool = False
    """True if the response may contain a token or a client secret: then it is neither stored nor compressed."""
    shows: tuple[Upstream, ...] = ()
    """The services whose data the response shows, if all callers may share one response (docs/adr/0033)."""
    changes: tuple[Upstream, ...] = ()
    """The services whose data that shared responses show the request changes, before it is answered."""
    leads_to: Upstream | None = None
    """The service that the caller needs next: the request waits while one of a higher priority waits for a slot there.
    """

    @property
    def is_public(self) -> bool:
        return Role.ANONYMOUS in self.roles

    @property
    def may_be_stored(self) -> bool:
        """True if caches may store the response: it is the same for every caller, and contains no secret."""
        is_for_everyone = self.is_public and self.ownership is Ownership.NONE
        return self.method == "GET" and is_for_everyone and not self.contains_secrets

    @property
    def rate_limit_policy(self) -> RateLimitPolicy:
        return self.policy or (RateLimitPolicy.READ if self.method == "GET" else RateLimitPolicy.WRITE)

    @property
    def priority(self) -> Priority:
        if self.rate_limit_policy in (RateLimitPolicy.READ, RateLimitPolicy.WEBHOOK):  # a webhook is sent again
            return Priority.READ
        if self.upstream is Upstream.PAYMENT:
            return Priority.PAYMENT
        return Priority.ORDER if self.path.startswith(f"{V1}/orders") else Priority.WRITE


def _rows() -> Sequence[Route]:
    user, product, order, inventory = Upstream.USER, Upstream.PRODUCT, Upstream.ORDER, Upstream.INVENTORY
    review, payment, notification = Upstream.REVIEW, Upstream.PAYMENT, Upstream.NOTIFICATION
    none, own, owner = Ownership.NONE, Ownership.SELF, Ownership.OWNER
    auth = RateLimitPolicy.AUTH
    details, reviews = (product, inventory, review, user), (review, product, user)
    return (
        Route("GET", "/.well-known/jwks.json", user, PUBLIC),
        Route("POST", f"{V1}/auth/register", user, PUBLIC, none, auth, contains_secrets=True),
        Route("POST", f"{V1}/auth/login", user, PUBLIC, none, auth, contains_secrets=True),
        Route("POST", f"{V1}/auth/refresh", user, PUBLIC, none, contains_secrets=True),
        Route("POST", f"{V1}/auth/logout", user, PUBLIC, none, contains_secrets=True),
        Route("POST", f"{V1}/auth/forgot-password", user, PUBLIC, none, auth, contains_secrets=True),
        Route("POST", f"{V1}/auth/reset-password", user, PUBLIC, none, auth, contains_secrets=True),
        Route("POST", f"{V1}/auth/verify-email", user, PUBLIC, none, auth, contains_secrets=True),
        Route("GET", f"{V1}/users/me", user, AUTHENTICATED, own),
        Route("PUT", f"{V1}/users/me", user, AUTHENTICATED, own, changes=(user,)),
        Route("DELETE", f"{V1}/users/me", user, AUTHENTICATED, own, changes=(user,)),
        Route("POST", f"{V1}/users/me/email", user, AUTHENTICATED, own, auth),
        Route("POST", f"{V1}/users/me/verify-email", user, AUTHENTICATED, own, auth),
        Route("POST", f"{V1}/users/me/password", user, AUTHENTICATED, own, auth),
        Route("GET", f"{V1}/users/me/sessions", user, AUTHENTICATED, own),
        Route("DELETE", f"{V1}/users/me/sessions/{{session_id}}", user, AUTHENTICATED, owner),
        Route("GET", f"{V1}/users/me/export", user, AUTHENTICATED, own),
        Route("GET", f"{V1}/users", user, ADMINS),
        Route("GET", f"{V1}/users/{{user_id}}", user, AUTHENTICATED, owner),
        Route("PUT", f"{V1}/users/{{user_id}}", user, AUTHENTICATED, owner, changes=(user,)),
        Route("DELETE", f"{V1}/users/{{user_id}}", user, AUTHENTICATED, owner, changes=(user,)),
        Route("GET", f"{V1}/products", product, PUBLIC, shows=(product,)),
        Route("POST", f"{V1}/products", product, SELLERS_AND_ADMINS, own, changes=(product,)),
        Route("GET", f"{V1}/products/suggest", product, PUBLIC, shows=(product,)),
        Route("GET", f"{V1}/products/{{product_id}}", product, PUBLIC, shows=details),
        Route("PUT", f"{V1}/products/{{product_id}}", product, SELLERS_AND_ADMINS, owner, changes=(product,)),
        Route("DELETE", f"{V1}/products/{{product_id}}", product, SELLERS_AND_ADMINS, owner, changes=(product,)),
        Route("GET", f"{V1}/products/{{product_id}}/recommendations", product, PUBLIC, shows=(product,)),
        Route("GET", f"{V1}/products/{{product_id}}/reviews", review, PUBLIC, shows=reviews),
        Route("POST", f"{V1}/products/{{product_id}}/reviews", review, AUTHENTICATED, own, changes=(review,)),
        Route("GET", f"{V1}/products/{{product_id}}/rating", review, PUBLIC, shows=reviews),
        Route("GET", f"{V1}/categories", product, PUBLIC, shows=(product,)),
        Route("POST", f"{V1}/categories", product, ADMINS, changes=(product,)),
        Route("PUT", f"{V1}/categories/{{category_id}}", product, ADMINS, changes=(product,)),
        Route("DELETE", f"{V1}/categories/{{category_id}}", product, ADMINS, changes=(product,)),
        Route("GET", f"{V1}/reviews", review, ADMINS),
        Route("PUT", f"{V1}/reviews/{{review_id}}", review, AUTHENTICATED, owner, changes=(review,)),
        Route("DELETE", f"{V1}/reviews/{{review_id}}", review, AUTHENTICATED, owner, changes=(review,)),
        Route("POST", f"{V1}/reviews/{{review_id}}/helpful", review, AUTHENTICATED, own, changes=(review,)),
        Route("DELETE", f"{V1}/reviews/{{review_id}}/helpful", review, AUTHENTICATED, own, changes=(review,)),
        Route("PUT", f"{V1}/reviews/{{review_id}}/moderation", review, ADMINS, changes=(review,)),
        Route("GET", f"{V1}/cart", order, PUBLIC, own),
        Route("POST", f"{V1}/cart", order, PUBLIC, own, contains_secrets=True),
        Route("DELETE", f"{V1}/cart", order, PUBLIC, own),
        Route("PUT", f"{V1}/cart/{{product_id}}", order, PUBLIC, own, contains_secrets=True),
        Route("DELETE", f"{V1}/cart/{{product_id}}", order, PUBLIC, own),
        Route("GET", f"{V1}/orders", order, AUTHENTICATED, own),
        Route("POST", f"{V1}/orders", order, AUTHENTICATED, own, changes=(inventory,), leads_to=payment),
        Route("GET", f"{V1}/orders/{{order_id}}", order, AUTHENTICATED, owner),
        Route("DELETE", f"{V1}/orders/{{order_id}}", order, AUTHENTICATED, owner, changes=(inventory,)),
        Route("PUT", f"{V1}/orders/{{order_id}}/status", order, ADMINS, changes=(inventory,)),
        Route("PUT", f"{V1}/orders/{{order_id}}/shipment", order, ADMINS, changes=(inventory,)),
        Route("PUT", f"{V1}/orders/{{order_id}}/manual-payment", order, ADMINS, changes=(inventory,)),
        Route("GET", f"{V1}/addresses", order, AUTHENTICATED, own),
        Route("POST", f"{V1}/addresses", order, AUTHENTICATED, own),
        Route("PUT", f"{V1}/addresses/{{address_id}}", order, AUTHENTICATED, owner),
        Route("DELETE", f"{V1}/addresses/{{address_id}}", order, AUTHENTICATED, owner),
        Route("GET", f"{V1}/analytics/sales", order, SELLERS_AND_ADMINS, own),
        Route("GET", f"{V1}/analytics/top-products", order, SELLERS_AND_ADMINS, own),
        Route("GET", f"{V1}/analytics/conversion", order, SELLERS_AND_ADMINS, own),
        Route("GET", f"{V1}/inventory/{{product_id}}", inventory, PUBLIC),
        Route("POST", f"{V1}/inventory/check-availability", inventory, PUBLIC, none, RateLimitPolicy.READ),
        Route("PUT", f"{V1}/inventory/{{product_id}}", inventory, SELLERS_AND_ADMINS, owner, changes=(inventory,)),
        Route(
            "POST",
            f"{V1}/inventory/{{product_id}}/adjustments",
            inventory,
            SELLERS_AND_ADMINS,
            owner,
            changes=(inventory,),
        ),
        Route("GET", f"{V1}/inventory/{{product_id}}/history", inventory, SELLERS_AND_ADMINS, owner),
        Route("GET", f"{V1}/payments", payment, AUTHENTICATED, own, contains_secrets=True),
        Route("POST", f"{V1}/payments", payment, AUTHENTICATED, owner, contains_secrets=True),
        Route("GET", f"{V1}/payments/{{payment_id}}", payment, AUTHENTICATED, owner, contains_secrets=True),
        Route("GET", f"{V1}/payments/order/{{order_id}}", payment, AUTHENTICATED, owner, contains_secrets=True),
        Route("POST", f"{V1}/payments/{{payment_id}}/confirm", payment, AUTHENTICATED, owner, contains_secrets=True),
        Route("POST", f"{V1}/payments/{{payment_id}}/cancel", payment, AUTHENTICATED, owner, contains_secrets=True),
        Route("POST", f"{V1}/payments/{{payment_id}}/refund", payment, ADMINS),
        Route("GET", f"{V1}/payments/{{payment_id}}/refunds", payment, AUTHENTICATED, owner),
        Route("GET", f"{V1}/payment-methods", payment, AUTHENTICATED, own),
        Route("POST", f"{V1}/payment-methods", payment, AUTHENTICATED, own, contains_secrets=True),
        Route("DELETE", f"{V1}/payment-methods/{{payment_method_id}}", payment, AUTHENTICATED, owner),
        Route("POST", f"{V1}/webhooks/stripe", payment, PUBLIC, none, RateLimitPolicy.WEBHOOK),
        Route("POST", f"{V1}/webhooks/twilio", notification, PUBLIC, none, RateLimitPolicy.WEBHOOK),
        Route("GET", f"{V1}/notifications", notification, AUTHENTICATED, own),
        Route("GET", f"{V1}/notifications/preferences", notification, AUTHENTICATED, own),
        Route("PUT", f"{V1}/notifications/preferences", notification, AUTHENTICATED, own),
        Route("GET", f"{V1}/notifications/dead", notification, ADMINS),
        Route("POST", f"{V1}/notifications/{{notification_id}}/retry", notification, ADMINS),
    )


ROUTES = _rows()


@dataclass(frozen=True, slots=True)
class AccessRule:
    """A row of the authorization matrix: which roles may make a request, and whether they must own its object."""

    method: str
    path: str
    roles: Roles
    ownership: Ownership


def access_matrix() -> list[AccessRule]:
    """Returns the access rule of every route. Tests of authorization are generated from them."""
    return [AccessRule(route.method, route.path, route.roles, route.ownership) for route in ROUTES]


@dataclass(slots=True)
class _Node:
    """A node in the tree of paths: the routes that end here by method, and the next segments."""

    methods: dict[str, Route] = field(default_factory=dict)
    literals: dict[str, "_Node"] = field(default_factory=dict)
    variable: "_Node | None" = None


class RouteTable:
    """Finds routes by path. A literal segment comes before a `{variable}`."""

    def __init__(self, routes: Sequence[Route] = ROUTES) -> None:
        self._root = _Node()
        for route in routes:
            self._insert(route.path.split("/")).methods[route.method] = route

    def find(self, method: str, path: str) -> Route:
        """Returns the route of a request; for HEAD that of GET. Raises NoSuchRoute, MethodNotAllowed."""
        methods = self.methods(path)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise MethodNotAllowed(method, _allowed_methods(methods))
        return route

    def methods(self, path: str) -> dict[str, Route]:
        """Returns the routes of a path by method. A slash at the end of the path is ignored. Raises NoSuchRoute."""
        segments = path.split("/")
        if segments[-1] == "":
            segments.pop()
        node = _descend(self._root, segments, 0)
        if node is None:
            raise NoSuchRoute
        return node.methods

    def _insert(self, segments: Sequence[str]) -> _Node:
        node = self._root
        for segment in segments:
            if segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.literals.setdefault(segment, _Node())
        return node


def _descend(node: _Node, segments: Sequence[str], depth: int) -> _Node | None:
    if depth == len(segments):
        return node if node.methods else None
    segment = segments[depth]
    literal = node.literals.get(segment)
    found = None if literal is None else _descend(literal, segments, depth + 1)
    if found is None and node.variable is not None and segment:
        return _descend(node.variable, segments, depth + 1)
    return found


def _allowed_methods(methods: dict[str, Route]) -> list[str]:
    with_head = {*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}
    return sorted(with_head)


def with_version(path: str) -> str:
    """Returns the versioned path: `/api/...` is an alias of `/api/v1/...`."""
    if not path.startswith("/api/") or path.startswith("/api/v1/"):
        return path
    first = path[5:].partition("/")[0]
    return path if first[:1] == "v" and first[1:].isdigit() else f"{V1}/{path[5:]}"


def decode_path(path: str) -> str:
    """Decodes percent-escapes as the services do, so that the gateway authorizes the path that the service serves."""
    return unquote(path) if "%" in path else path
