import re

import pytest
from gateway_service.domain.errors import MethodNotAllowed, NoSuchRoute
from gateway_service.domain.rate_limits import RateLimitPolicy
from gateway_service.domain.routes import (
    ADMINS,
    AUTHENTICATED,
    PUBLIC,
    ROUTES,
    SELLERS_AND_ADMINS,
    Ownership,
    Priority,
    Role,
    Route,
    RouteTable,
    Upstream,
    access_matrix,
    decode_path,
    with_version,
)

TABLE = RouteTable()


def example(path: str) -> str:
    return re.sub(r"\{\w+\}", "1", path)


@pytest.mark.parametrize(
    ("method", "path", "upstream"),
    [
        ("POST", "/api/v1/auth/register", Upstream.USER),
        ("GET", "/api/v1/users", Upstream.USER),
        ("GET", "/.well-known/jwks.json", Upstream.USER),
        ("GET", "/api/v1/products/1", Upstream.PRODUCT),
        ("GET", "/api/v1/products/1/reviews", Upstream.REVIEW),
        ("GET", "/api/v1/products/1/rating", Upstream.REVIEW),
        ("GET", "/api/v1/products/suggest/reviews", Upstream.REVIEW),
        ("GET", "/api/v1/cart", Upstream.ORDER),
        ("GET", "/api/v1/analytics/sales", Upstream.ORDER),
        ("GET", "/api/v1/inventory/1", Upstream.INVENTORY),
        ("POST", "/api/v1/webhooks/stripe", Upstream.PAYMENT),
        ("DELETE", "/api/v1/payment-methods/1", Upstream.PAYMENT),
        ("GET", "/api/v1/notifications", Upstream.NOTIFICATION),
    ],
)
def test_each_path_is_routed_to_its_service(method: str, path: str, upstream: Upstream) -> None:
    assert TABLE.find(method, path).upstream is upstream


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/api",
        "/api/v1",
        "/api/v1/productsx",
        "/api/v2/products",
        "/x/api/v1/products",
        "/metrics",
        "/api/v1/products//reviews",
        "/api/v1/orders/1/2/3",
        "/api/v1/users/../products",
    ],
)
def test_an_unknown_path_has_no_route(path: str) -> None:
    with pytest.raises(NoSuchRoute):
        TABLE.find("GET", path)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_no_route_is_shadowed_by_another(route: Route) -> None:
    assert TABLE.find(route.method, example(route.path)) is route
    assert TABLE.find(route.method, example(route.path) + "/") is route


def test_a_literal_segment_comes_before_a_variable() -> None:
    assert TABLE.find("GET", "/api/v1/users/me").path == "/api/v1/users/me"
    assert TABLE.find("GET", "/api/v1/payments/order/1").path == "/api/v1/payments/order/{order_id}"
    assert TABLE.find("POST", "/api/v1/inventory/check-availability").ownership is Ownership.NONE


def test_a_wrong_method_is_refused_with_the_allowed_methods() -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        TABLE.find("PATCH", "/api/v1/orders")
    assert refused.value.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    with pytest.raises(MethodNotAllowed) as refused:
        TABLE.find("GET", "/api/v1/auth/login")
    assert refused.value.headers["Allow"] == "OPTIONS, POST"


def test_head_has_the_route_of_get() -> None:
    assert TABLE.find("HEAD", "/api/v1/products") is TABLE.find("GET", "/api/v1/products")


def test_only_catalogue_guest_cart_authentication_and_webhooks_are_public() -> None:
    public = {f"{route.method} {route.path.removeprefix('/api/v1')}" for route in ROUTES if route.is_public}
    assert public == {
        "GET /.well-known/jwks.json",
        "POST /auth/register",
        "POST /auth/login",
        "POST /auth/refresh",
        "POST /auth/logout",
        "POST /auth/forgot-password",
        "POST /auth/reset-password",
        "POST /auth/verify-email",
        "GET /products",
        "GET /products/suggest",
        "GET /products/{product_id}",
        "GET /products/{product_id}/recommendations",
        "GET /products/{product_id}/reviews",
        "GET /products/{product_id}/rating",
        "GET /categories",
        "GET /inventory/{product_id}",
        "POST /inventory/check-availability",
        "GET /cart",
        "POST /cart",
        "DELETE /cart",
        "PUT /cart/{product_id}",
        "DELETE /cart/{product_id}",
        "POST /webhooks/stripe",
        "POST /webhooks/twilio",
    }


def test_only_these_routes_are_reserved_for_admins() -> None:
    for_admins = {f"{route.method} {route.path.removeprefix('/api/v1')}" for route in ROUTES if route.roles == ADMINS}
    assert for_admins == {
        "GET /users",
        "POST /categories",
        "PUT /categories/{category_id}",
        "DELETE /categories/{category_id}",
        "GET /reviews",
        "PUT /reviews/{review_id}/moderation",
        "PUT /orders/{order_id}/status",
        "PUT /orders/{order_id}/shipment",
        "PUT /orders/{order_id}/manual-payment",
        "POST /payments/{payment_id}/refund",
        "GET /notifications/dead",
        "POST /notifications/{notification_id}/retry",
    }


def test_every_route_has_one_of_four_role_sets_and_admits_admins() -> None:
    assert {route.roles for route in ROUTES} == {PUBLIC, AUTHENTICATED, SELLERS_AND_ADMINS, ADMINS}
    assert all(Role.ADMIN in route.roles for route in ROUTES)


def test_the_access_matrix_has_every_route_once() -> None:
    rules = access_matrix()
    assert len({(rule.method, rule.path) for rule in rules}) == len(rules) == len(ROUTES)
    assert {rule.ownership for rule in rules} == set(Ownership)
    (place_order,) = [rule for rule in rules if (rule.method, rule.path) == ("POST", "/api/v1/orders")]
    assert (place_order.roles, place_order.ownership) == (AUTHENTICATED, Ownership.SELF)


def test_routes_that_check_a_password_or_send_a_mail_have_the_auth_limit() -> None:
    limited = {
        route.path.removeprefix("/api/v1") for route in ROUTES if route.rate_limit_policy is RateLimitPolicy.AUTH
    }
    assert limited == {
        "/auth/register",
        "/auth/login",
        "/auth/forgot-password",
        "/auth/reset-password",
        "/auth/verify-email",
        "/users/me/email",
        "/users/me/verify-email",
        "/users/me/password",
    }


def test_routes_with_tokens_or_client_secrets_are_marked() -> None:
    marked = {route.path.removeprefix("/api/v1").split("/")[1] for route in ROUTES if route.contains_secrets}
    assert marked == {"auth", "cart", "payments", "payment-methods"}


@pytest.mark.parametrize(
    ("path", "full"),
    [
        ("/api/products", "/api/v1/products"),
        ("/api/v1/products", "/api/v1/products"),
        ("/api/v2/products", "/api/v2/products"),
        ("/api/vouchers", "/api/v1/vouchers"),
        ("/api/v1", "/api/v1"),
        ("/api", "/api"),
        ("/apis/products", "/apis/products"),
        ("/x/api/products", "/x/api/products"),
    ],
)
def test_a_path_without_a_version_is_an_alias_of_version_1(path: str, full: str) -> None:
    assert with_version(path) == full


def test_a_path_is_decoded_as_services_decode_it() -> None:
    """Services decode an escaped slash, so the gateway must not authorize another path than they serve."""
    assert decode_path("/api/v1/users/1%2Fpassword") == "/api/v1/users/1/password"
    assert decode_path("/api/v1/products/a%20b") == "/api/v1/products/a b"
    with pytest.raises(NoSuchRoute):
        TABLE.find("GET", decode_path("/api/v1/orders/1%2F2"))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_only_responses_that_are_the_same_for_every_caller_may_be_stored(route: Route) -> None:
    is_the_callers = route.ownership is not Ownership.NONE or Role.ANONYMOUS not in route.roles
    assert route.may_be_stored is not (is_the_callers or route.contains_secrets or route.method != "GET")


@pytest.mark.parametrize(
    ("method", "path", "priority"),
    [
        ("POST", "/api/v1/payments", Priority.PAYMENT),
        ("POST", "/api/v1/payments/1/confirm", Priority.PAYMENT),
        ("POST", "/api/v1/orders", Priority.ORDER),
        ("DELETE", "/api/v1/orders/1", Priority.ORDER),
        ("POST", "/api/v1/cart", Priority.WRITE),
        ("POST", "/api/v1/auth/login", Priority.WRITE),
        ("GET", "/api/v1/payments", Priority.READ),
        ("GET", "/api/v1/orders", Priority.READ),
        ("GET", "/api/v1/products", Priority.READ),
        ("POST", "/api/v1/inventory/check-availability", Priority.READ),
        ("POST", "/api/v1/webhooks/stripe", Priority.READ),
    ],
)
def test_payments_come_before_orders_before_other_changes_before_reads(
    method: str, path: str, priority: Priority
) -> None:
    assert TABLE.find(method, path).priority is priority
