import asyncio
import json
import re
from typing import Any

from chassis.types.problem import PROBLEM_SCHEMA
from gateway_service.domain.openapi import Document, merge_documents
from gateway_service.domain.routes import ROUTES, Upstream
from gateway_service.service.documentation import Documentation


def document(*paths: str, method: str = "get") -> Document:
    """Returns the document of a service. The response of each path is a `Page`, which contains a `Money`."""
    reference = {"$ref": "#/components/schemas/Page"}
    operation = {"operationId": "do", "responses": {"200": {"content": {"application/json": {"schema": reference}}}}}
    return {
        "openapi": "3.1.0",
        "paths": {path: {method: operation} for path in ("/health", "/ready", *paths)},
        "components": {
            "schemas": {
                "Page": {"properties": {"price": {"$ref": "#/components/schemas/Money"}}},
                "Money": {"title": "Money"},
            }
        },
    }


def references(node: Any) -> set[str]:
    match node:
        case {"$ref": str(target)}:
            return {target}
        case dict():
            return set().union(*map(references, node.values()))
        case list():
            return set().union(*map(references, node))
        case _:
            return set()


def resolves(reference: str, document: Any) -> bool:
    for step in reference.removeprefix("#/").split("/"):
        if step not in document:
            return False
        document = document[step]
    return True


def every_service() -> dict[Upstream, Document | None]:
    """Returns documents with all routes, in which each path variable has another name than in the route table."""
    documents: dict[Upstream, Document | None] = {}
    for upstream in Upstream:
        paths: Document = {}
        for route in ROUTES:
            if route.upstream is upstream:
                parameters = [{"name": "x", "in": "path", "required": True, "schema": {}}] if "{" in route.path else []
                operation = {"parameters": parameters, "responses": {"200": {"description": "ok"}}}
                paths.setdefault(re.sub(r"{\w+}", "{x}", route.path), {})[route.method.lower()] = operation
        documents[upstream] = {"openapi": "3.1.0", "paths": paths}
    return documents


def operations(result: Document) -> dict[tuple[str, str], Document]:
    return {
        (method.upper(), path): operation
        for path, item in result["paths"].items()
        for method, operation in item.items()
    }


def test_every_route_is_documented_with_a_unique_operation_id() -> None:
    result = merge_documents(every_service(), "Shop", "1")
    shown = operations(result)
    assert len(shown) == len(ROUTES)
    assert len({operation["operationId"] for operation in shown.values()}) == len(ROUTES)
    assert all(resolves(reference, result) for reference in references(result))


def test_error_responses_of_the_gateway_are_documented() -> None:
    shown = operations(merge_documents(every_service(), "Shop", "1"))
    assert set(shown["GET", "/api/v1/products"]["responses"]) == {"200", "429", "503"}
    assert set(shown["GET", "/api/v1/users/me"]["responses"]) == {"200", "401", "429", "503"}
    assert set(shown["POST", "/api/v1/categories"]["responses"]) == {"200", "401", "403", "429", "503"}
    assert shown["POST", "/api/v1/products"]["description"] == "Only for admins and sellers."


def test_a_token_is_optional_on_public_routes_about_the_caller() -> None:
    shown = operations(merge_documents(every_service(), "Shop", "1"))
    assert shown["GET", "/api/v1/cart"]["security"] == [{}, {"bearer": []}]
    assert "security" not in shown["POST", "/api/v1/auth/login"]


def test_only_routes_of_the_gateway_are_documented() -> None:
    result = merge_documents(
        {Upstream.USER: document("/api/v1/users/me", "/internal", "/api/v1/products")}, "Shop", "1"
    )
    assert list(result["paths"]) == ["/api/v1/users/me"]


def test_schema_names_are_qualified_except_those_of_the_chassis() -> None:
    result = merge_documents(
        {Upstream.USER: document("/api/v1/users"), Upstream.ORDER: document("/api/v1/orders")}, "Shop", "1"
    )
    schemas = result["components"]["schemas"]
    assert set(schemas) == {"Problem", "Money", "user.Page", "order.Page"}
    assert all(resolves(reference, result) for reference in references(result))
    operations = [item["get"]["operationId"] for item in result["paths"].values()]
    assert operations == ["user.do", "order.do"]


def test_inline_problem_schemas_become_references() -> None:
    own = document("/api/v1/users")
    responses = own["paths"]["/api/v1/users"]["get"]["responses"]
    responses["4XX"] = {"content": {"application/problem+json": {"schema": dict(PROBLEM_SCHEMA)}}}
    responses = operations(merge_documents({Upstream.USER: own}, "Shop", "1"))["GET", "/api/v1/users"]["responses"]
    assert references(responses["4XX"]) == {"#/components/schemas/Problem"}


def test_operations_that_need_a_token_are_marked() -> None:
    product = document("/api/v1/products/{product_id}") | {}
    assert (
        "security"
        not in merge_documents({Upstream.PRODUCT: product}, "Shop", "1")["paths"]["/api/v1/products/{product_id}"][
            "get"
        ]
    )
    changing = document("/api/v1/products/{product_id}", method="put")
    result = merge_documents({Upstream.PRODUCT: changing}, "Shop", "1")
    assert result["paths"]["/api/v1/products/{product_id}"]["put"]["security"] == [{"bearer": []}]
    assert "bearer" in result["components"]["securitySchemes"]


def test_a_service_that_does_not_respond_is_named() -> None:
    result = merge_documents({Upstream.USER: document("/api/v1/users"), Upstream.ORDER: None}, "Shop", "1")
    assert "does not respond: order." in result["info"]["description"]
    assert list(result["paths"]) == ["/api/v1/users"]


class Shop:
    """Fake upstreams with documents, which a test can remove."""

    def __init__(self) -> None:
        self.now = 0.0
        self.fetches = 0
        self.documents: dict[Upstream, Document | None] = {
            Upstream.USER: document("/api/v1/users"),
            Upstream.ORDER: document("/api/v1/orders"),
        }
        self.documentation = Documentation("Shop", "1", tuple(self.documents), self.fetch, lambda: self.now)

    async def fetch(self, upstream: Upstream) -> Document | None:
        self.fetches += 1
        await asyncio.sleep(0)
        return self.documents[upstream]

    async def paths(self) -> set[str]:
        return set(json.loads(await self.documentation.current())["paths"])


async def test_each_document_is_fetched_once_in_half_a_minute() -> None:
    shop = Shop()
    await asyncio.gather(*(shop.paths() for _ in range(10)))
    shop.now = 29.0
    await shop.paths()
    assert shop.fetches == 2
    shop.now = 31.0
    await shop.paths()
    assert shop.fetches == 4


async def test_a_service_that_stops_responding_stays_documented() -> None:
    shop = Shop()
    await shop.paths()
    shop.documents[Upstream.ORDER] = None
    shop.now = 31.0
    assert await shop.paths() == {"/api/v1/users", "/api/v1/orders"}


async def test_a_service_that_starts_late_is_documented_soon() -> None:
    shop = Shop()
    late, shop.documents[Upstream.ORDER] = shop.documents[Upstream.ORDER], None
    assert await shop.paths() == {"/api/v1/users"}
    shop.documents[Upstream.ORDER] = late
    shop.now = 4.0
    assert await shop.paths() == {"/api/v1/users", "/api/v1/orders"}
