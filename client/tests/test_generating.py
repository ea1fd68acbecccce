"""Tests of what client/generate generates from an OpenAPI document."""

import ast
from typing import Any

import pytest
from generating.package import modules
from generating.reading import Json, UnsupportedSchemaError, operations_of
from generating.rendering import method_text

_CUP = {"$ref": "#/components/schemas/shop.Cup"}
_SCHEMAS: Json = {
    "Money": {
        "type": "object",
        "title": "Money",
        "required": ["amount"],
        "properties": {"amount": {"type": "integer"}},
    },
    "shop.Cup": {
        "type": "object",
        "title": "Cup",
        "description": "Porcelain.",
        "required": ["id", "price", "glaze"],
        "properties": {
            "id": {"type": "integer", "title": "Id", "minimum": 1},
            "price": {"$ref": "#/components/schemas/Money"},
            "glaze": {"$ref": "#/components/schemas/shop.Glaze"},
            "secret": {"anyOf": [{"type": "string", "format": "password", "maxLength": 9}, {"type": "null"}]},
        },
    },
    "shop.Glaze": {"type": "string", "title": "Glaze", "enum": ["matt", "bright"]},
    "shop.Data_Cup_": {"type": "object", "properties": {"data": _CUP}},
    "shop.Data_list_Cup__": {"type": "object", "properties": {"data": {"type": "array", "items": _CUP}}},
    "shop.PageOf_Cup_": {
        "type": "object",
        "required": ["data", "page", "limit", "total"],
        "properties": {
            "data": {"type": "array", "items": _CUP},
            **{name: {"type": "integer"} for name in ("page", "limit", "total")},
        },
    },
}


def response_with(schema: str) -> Json:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/shop.{schema}"}}}}


def document(method: str, path: str, success: Json, **operation: Any) -> Json:
    """Returns a document with one operation, `shop.do`, and its response of success."""
    responses = {"200": success, "4XX": {"description": "a problem"}}
    item = {method: {"operationId": "shop.do", "responses": responses, **operation}}
    return {"openapi": "3.1.0", "info": {}, "paths": {path: item}, "components": {"schemas": _SCHEMAS}}


def method_of(described: Json) -> str:
    (operation,) = operations_of(described)
    return ast.unparse(ast.parse(f"class _:\n{method_text(operation)}"))


def parameter(name: str, place: str, schema: Json, **more: object) -> Json:
    return {"name": name, "in": place, "schema": schema, **more}


def test_an_operation_is_a_method_named_by_its_id_that_returns_the_data() -> None:
    path_id = parameter("cup_id", "path", {"type": "string", "format": "uuid"}, required=True)
    method = method_of(
        document("get", "/cups/{cup_id}", response_with("Data_Cup_"), parameters=[path_id], summary="One cup")
    )

    assert "async def do(self, cup_id: UUID) -> shop.Cup:" in method
    assert '"""One cup."""' in method
    assert "fetch_data(shop.Cup, Call('GET', '/cups/{cup_id}', path_values={'cup_id': cup_id}))" in method


def test_parameters_of_a_path_apply_to_all_its_operations() -> None:
    described = document("get", "/cups/{cup_id}", response_with("Data_Cup_"))
    shared = parameter("cup_id", "path", {"type": "integer"}, required=True)
    described["paths"]["/cups/{cup_id}"] |= {"parameters": [shared], "summary": "Cups"}

    assert "async def do(self, cup_id: int) -> shop.Cup:" in method_of(described)


def test_optional_parameters_are_keywords_and_sent_under_their_own_names() -> None:
    optional = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}
    parameters = [
        parameter("from", "query", optional),
        parameter("all", "query", {"type": "boolean"}),
        parameter("Idempotency-Key", "header", {"type": "string"}, description="one per intent"),
    ]
    method = method_of(document("get", "/cups", response_with("Data_list_Cup__"), parameters=parameters))

    assert (
        "do(self, *, from_: datetime | None=None, all_: bool | None=None, idempotency_key: str | None=None)"
        " -> list[shop.Cup]" in method
    )
    assert "query={'from': from_, 'all': all_}, headers={'Idempotency-Key': idempotency_key}" in method
    assert "`idempotency_key`: one per intent" in method


@pytest.mark.parametrize(("required", "declared"), [(True, "body: shop.Cup"), (False, "body: shop.Cup | None=None")])
def test_a_body_is_a_model_and_a_response_without_content_is_none(required: bool, declared: str) -> None:
    body = {"required": required, "content": {"application/json": {"schema": _CUP}}}
    method = method_of(document("put", "/cups", {"description": "done"}, requestBody=body))

    assert f"async def do(self, {declared}) -> None:" in method
    assert "send(Call('PUT', '/cups', body=body))" in method


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Returns the generated files of a shop that lists cups."""
    return modules(document("get", "/cups", response_with("PageOf_Cup_")))


def test_a_page_is_a_listing_of_its_items(texts: dict[str, str]) -> None:
    assert "def do(self) -> Listing[shop.PageOfCup, shop.Cup]:" in texts["operations/shop.py"]
    assert "self.shop = ShopOperations(connection)" in texts["operations/__init__.py"]


def test_each_service_has_a_module_of_models_without_bounds(texts: dict[str, str]) -> None:
    assert "class Money(BaseModel):" in texts["models/__init__.py"]
    cups = texts["models/shop.py"]
    assert 'Glaze = TypeAliasType("Glaze", Literal["matt", "bright"])' in cups
    assert "    id: int\n    price: Money\n    glaze: Glaze\n    secret: str | None = None\n" in cups
    assert "class Data" not in cups


def test_webhooks_of_providers_are_not_client_operations() -> None:
    assert list(operations_of(document("post", "/hook", {"description": "thanks"}, tags=["webhooks"]))) == []


@pytest.mark.parametrize(
    "operation",
    [
        {"parameters": [parameter("odd", "query", {"type": "string", "format": "colour"})]},
        {"requestBody": {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    ],
)
def test_a_schema_without_a_type_is_an_error(operation: Json) -> None:
    with pytest.raises(UnsupportedSchemaError, match=r"colour|text/csv"):
        list(operations_of(document("post", "/cups", response_with("Data_Cup_"), **operation)))
