import asyncio
import json
import re
from typing import Any

from chassis.types.problem import PROBLEM_SCHEMA
from gateway_service.domain.openapi import Document, merged
from gateway_service.domain.routes import ROUTES, Upstream
from gateway_service.service.documentation import Documentation


def document(*paths: str, method: str = "get") -> Document:
    """What a service says of itself: each path answers an `Answer`, which holds a `Money`."""
    reference = {"$ref": "#/components/schemas/Answer"}
    operation = {"operationId": "do", "responses": {"200": {"content": {"application/json": {"schema": reference}}}}}
    return {
        "openapi": "3.1.0",
        "paths": {path: {method: operation} for path in ("/health", "/ready", *paths)},
        "components": {
            "schemas": {
                "Answer": {"properties": {"price": {"$ref": "#/components/schemas/Money"}}},
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
    """Documents that have all of the table, each variable under another name than the table's."""
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


def test_all_of_the_table_is_shown_with_an_id_of_its_own() -> None:
    result = merged(every_service(), "Shop", "1")
    shown = operations(result)
    assert len(shown) == len(ROUTES)
    assert len({operation["operationId"] for operation in shown.values()}) == len(ROUTES)
    assert all(resolves(reference, result) for reference in references(result))


def test_what_the_gateway_answers_itself_is_shown() -> None:
    shown = operations(merged(every_service(), "Shop", "1"))
    assert set(shown["GET", "/api/v1/products"]["responses"]) == {"200", "429", "503"}
    assert set(shown["GET", "/api/v1/users/me"]["responses"]) == {"200", "401", "429", "503"}
    assert set(shown["POST", "/api/v1/categories"]["responses"]) == {"200", "401", "403", "429", "503"}
    assert shown["POST", "/api/v1/products"]["description"] == "For admins and sellers alone."


def test_where_guests_may_a_token_is_an_option() -> None:
    shown = operations(merged(every_service(), "Shop", "1"))
    assert shown["GET", "/api/v1/cart"]["security"] == [{}, {"bearer": []}]
    assert "security" not in shown["POST", "/api/v1/auth/login"]


def test_only_what_the_gateway_serves_is_shown() -> None:
    result = merged({Upstream.USER: document("/api/v1/users/me", "/internal", "/api/v1/products")}, "Shop", "1")
    assert list(result["paths"]) == ["/api/v1/users/me"]


def test_two_services_may_use_one_name_and_share_what_is_the_chassis() -> None:
    result = merged({Upstream.USER: document("/api/v1/users"), Upstream.ORDER: document("/api/v1/orders")}, "Shop", "1")
    schemas = result["components"]["schemas"]
    assert set(schemas) == {"Problem", "Money", "user.Answer", "order.Answer"}
    assert all(resolves(reference, result) for reference in references(result))
    operations = [item["get"]["operationId"] for item in result["paths"].values()]
    assert operations == ["user.do", "order.do"]


def test_a_problem_that_services_spell_out_is_described_once() -> None:
    own = document("/api/v1/users")
    responses = own["paths"]["/api/v1/users"]["get"]["responses"]
    responses["4XX"] = {"content": {"application/problem+json": {"schema": dict(PROBLEM_SCHEMA)}}}
    answers = operations(merged({Upstream.USER: own}, "Shop", "1"))["GET", "/api/v1/users"]["responses"]
    assert references(answers["4XX"]) == {"#/components/schemas/Problem"}


def test_operations_that_need_a_token_say_so() -> None:
    product = document("/api/v1/products/{product_id}") | {}
    assert (
        "security"
        not in merged({Upstream.PRODUCT: product}, "Shop", "1")["paths"]["/api/v1/products/{product_id}"]["get"]
    )
    changing = document("/api/v1/products/{product_id}", method="put")
    result = merged({Upstream.PRODUCT: changing}, "Shop", "1")
    assert result["paths"]["/api/v1/products/{product_id}"]["put"]["security"] == [{"bearer": []}]
    assert "bearer" in result["components"]["securitySchemes"]


def test_a_service_that_is_away_is_named() -> None:
    result = merged({Upstream.USER: document("/api/v1/users"), Upstream.ORDER: None}, "Shop", "1")
    assert "not answering: order." in result["info"]["description"]
    assert list(result["paths"]) == ["/api/v1/users"]


class Shop:
    """Services whose documents can be asked for, and that can go away."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.documents: dict[Upstream, Document | None] = {
            Upstream.USER: document("/api/v1/users"),
            Upstream.ORDER: document("/api/v1/orders"),
        }
        self.documentation = Documentation("Shop", "1", tuple(self.documents), self.fetch, lambda: self.now)

    async def fetch(self, upstream: Upstream) -> Document | None:
        self.asked += 1
        await asyncio.sleep(0)
        return self.documents[upstream]

    async def paths(self) -> set[str]:
        return set(json.loads(await self.documentation.current())["paths"])


async def test_many_readers_ask_each_service_once_in_half_a_minute() -> None:
    shop = Shop()
    await asyncio.gather(*(shop.paths() for _ in range(10)))
    shop.now = 29.0
    await shop.paths()
    assert shop.asked == 2
    shop.now = 31.0
    await shop.paths()
    assert shop.asked == 4


async def test_a_service_that_goes_away_stays_documented() -> None:
    shop = Shop()
    await shop.paths()
    shop.documents[Upstream.ORDER] = None
    shop.now = 31.0
    assert await shop.paths() == {"/api/v1/users", "/api/v1/orders"}


async def test_a_service_that_comes_late_is_documented_soon() -> None:
    shop = Shop()
    late, shop.documents[Upstream.ORDER] = shop.documents[Upstream.ORDER], None
    assert await shop.paths() == {"/api/v1/users"}
    shop.documents[Upstream.ORDER] = late
    shop.now = 4.0
    assert await shop.paths() == {"/api/v1/users", "/api/v1/orders"}
