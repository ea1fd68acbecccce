import re

import pytest
from gateway_service.domain.routes import ROUTES, Upstream, find, versioned


@pytest.mark.parametrize(
    ("path", "upstream"),
    [
        ("/api/v1/auth/register", Upstream.USER),
        ("/api/v1/users", Upstream.USER),
        ("/api/v1/users/me", Upstream.USER),
        ("/.well-known/jwks.json", Upstream.USER),
        ("/api/v1/products", Upstream.PRODUCT),
        ("/api/v1/products/1", Upstream.PRODUCT),
        ("/api/v1/products/1/reviews", Upstream.REVIEW),
        ("/api/v1/products/reviews", Upstream.PRODUCT),
        ("/api/v1/categories/1", Upstream.PRODUCT),
        ("/api/v1/reviews/1", Upstream.REVIEW),
        ("/api/v1/orders", Upstream.ORDER),
        ("/api/v1/inventory/1", Upstream.INVENTORY),
    ],
)
def test_each_path_has_its_service(path: str, upstream: Upstream) -> None:
    route = find(path)
    assert route is not None
    assert route.upstream is upstream


@pytest.mark.parametrize(
    "path", ["/", "", "/api", "/api/v1", "/api/v1/productsx", "/api/v2/products", "/x/api/v1/products", "/metrics"]
)
def test_what_no_service_serves_has_no_route(path: str) -> None:
    assert find(path) is None


@pytest.mark.parametrize(
    ("method", "path", "needs_token"),
    [
        ("POST", "/api/v1/auth/register", False),
        ("GET", "/.well-known/jwks.json", False),
        ("GET", "/api/v1/users/me", True),
        ("GET", "/api/v1/products", False),
        ("HEAD", "/api/v1/products", False),
        ("POST", "/api/v1/products", True),
        ("DELETE", "/api/v1/products/1", True),
        ("GET", "/api/v1/products/1/reviews", False),
        ("POST", "/api/v1/products/1/reviews", True),
        ("GET", "/api/v1/inventory/1", False),
        ("PUT", "/api/v1/inventory/1", True),
        ("POST", "/api/v1/inventory/check-availability", False),
        ("GET", "/api/v1/orders", True),
    ],
)
def test_reading_the_shop_is_public_and_the_rest_needs_a_token(method: str, path: str, needs_token: bool) -> None:
    route = find(path)
    assert route is not None
    assert route.needs_token(method) is needs_token


def test_no_route_hides_behind_an_earlier_one() -> None:
    for number, route in enumerate(ROUTES):
        example = re.sub(r"\{\}", "1", route.path)
        found = find(example)
        assert found is route, f"{route.path} (number {number}) is never reached"


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
