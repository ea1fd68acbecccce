import re

import pytest
from gateway_service.domain.errors import MethodNotAllowed, NoSuchRoute
from gateway_service.domain.limits import Policy
from gateway_service.domain.routes import (
    ADMINS,
    ANYBODY,
    ROUTES,
    SELLERS,
    USERS,
    Ownership,
    Role,
    Route,
    Table,
    Upstream,
    as_served,
    matrix,
    versioned,
)

TABLE = Table()


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
def test_each_path_has_its_service(method: str, path: str, upstream: Upstream) -> None:
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
def test_what_no_service_serves_has_no_route(path: str) -> None:
    with pytest.raises(NoSuchRoute):
        TABLE.find("GET", path)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_no_route_hides_behind_another(route: Route) -> None:
    assert TABLE.find(route.method, example(route.path)) is route
    assert TABLE.find(route.method, example(route.path) + "/") is route


def test_a_segment_that_is_spelt_out_comes_first() -> None:
    assert TABLE.find("GET", "/api/v1/users/me").path == "/api/v1/users/me"
    assert TABLE.find("GET", "/api/v1/payments/order/1").path == "/api/v1/payments/order/{order_id}"
    assert TABLE.find("POST", "/api/v1/inventory/check-availability").ownership is Ownership.NONE


def test_a_method_that_a_path_has_not_is_told_from_those_it_has() -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        TABLE.find("PATCH", "/api/v1/orders")
    assert refused.value.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    with pytest.raises(MethodNotAllowed) as refused:
        TABLE.find("GET", "/api/v1/auth/login")
    assert refused.value.headers["Allow"] == "OPTIONS, POST"


def test_head_is_a_get() -> None:
    assert TABLE.find("HEAD", "/api/v1/products") is TABLE.find("GET", "/api/v1/products")


def test_reading_the_catalogue_a_guests_cart_logging_in_and_the_providers_calls_are_all_that_is_public() -> None:
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


def test_what_only_admins_do() -> None:
    for_admins = {f"{route.method} {route.path.removeprefix('/api/v1')}" for route in ROUTES if route.roles == ADMINS}
    assert for_admins == {
        "GET /users",
        "POST /categories",
        "PUT /categories/{category_id}",
        "DELETE /categories/{category_id}",
        "GET /reviews",
        "PUT /reviews/{review_id}/moderation",
        "PUT /orders/{order_id}/status",
        "POST /payments/{payment_id}/refund",
        "GET /notifications/dead",
        "POST /notifications/{notification_id}/retry",
    }


def test_every_role_set_is_one_of_four_and_admins_are_in_all() -> None:
    assert {route.roles for route in ROUTES} == {ANYBODY, USERS, SELLERS, ADMINS}
    assert all(Role.ADMIN in route.roles for route in ROUTES)


def test_the_matrix_has_every_row_of_the_table_once() -> None:
    cells = matrix()
    assert len({(cell.method, cell.path) for cell in cells}) == len(cells) == len(ROUTES)
    assert {cell.ownership for cell in cells} == set(Ownership)
    (placing,) = [cell for cell in cells if (cell.method, cell.path) == ("POST", "/api/v1/orders")]
    assert (placing.roles, placing.ownership) == (USERS, Ownership.SELF)


def test_whatever_tries_a_password_or_sends_a_mail_counts_as_such() -> None:
    tight = {route.path.removeprefix("/api/v1") for route in ROUTES if route.limit is Policy.AUTH}
    assert tight == {
        "/auth/register",
        "/auth/login",
        "/auth/forgot-password",
        "/auth/reset-password",
        "/auth/verify-email",
        "/users/me/email",
        "/users/me/verify-email",
        "/users/me/password",
    }


def test_answers_with_tokens_or_client_secrets_are_marked() -> None:
    marked = {route.path.removeprefix("/api/v1").split("/")[1] for route in ROUTES if route.bears_secrets}
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
def test_a_path_without_a_version_means_the_first(path: str, full: str) -> None:
    assert versioned(path) == full


def test_a_path_is_read_as_services_read_it() -> None:
    """An escaped slash is one to them: what is decided here must not be about another path."""
    assert as_served("/api/v1/users/1%2Fpassword") == "/api/v1/users/1/password"
    assert as_served("/api/v1/products/a%20b") == "/api/v1/products/a b"
    with pytest.raises(NoSuchRoute):
        TABLE.find("GET", as_served("/api/v1/orders/1%2F2"))
