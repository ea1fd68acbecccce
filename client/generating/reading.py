"""Reads the operations of an OpenAPI document."""

import builtins
import json
import keyword
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

METHODS: Final = ("get", "post", "put", "patch", "delete")
SCALARS: Final = {
    ("integer", None): "int",
    ("number", None): "float",
    ("boolean", None): "bool",
    ("string", None): "str",
    ("string", "uuid"): "UUID",
    ("string", "date-time"): "datetime",
}


class UnsupportedSchemaError(Exception):
    """The document has a schema that this generator does not support yet: extend client/generating."""


def with_python_names(document: Json) -> Json:
    """Renames `order.PageOf_OrderResponse_` to `order.PageOfOrderResponse`, in definitions and references."""
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        text = text.replace(f'schemas/{name}"', f'schemas/{name.replace("_", "")}"')
    named: Json = json.loads(text)
    schemas = named["components"]["schemas"]
    named["components"]["schemas"] = {name.replace("_", ""): schema for name, schema in schemas.items()}
    return named


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    """The name in the request."""
    place: str
    """path, query or header"""
    type: str
    is_required: bool
    description: str

    @property
    def argument(self) -> str:
        name = re.sub(r"\W", "_", self.name).lower()
        return f"{name}_" if keyword.iskeyword(name) or hasattr(builtins, name) else name

    @property
    def declared(self) -> str:
        return f"{self.argument}: {self.type}" if self.is_required else f"{self.argument}: {self.type} | None = None"


@dataclass(frozen=True, slots=True)
class Response:
    method: str
    """The method of Connection that reads it; `list` if it is a page of a list."""
    type: str = "None"
    item: str = ""
    """The type of an item, for a list."""


@dataclass(frozen=True, slots=True)
class Operation:
    service: str
    name: str
    method: str
    path: str
    description: Sequence[str]
    """Paragraphs."""
    parameters: Sequence[Parameter]
    response: Response


def operations_of(document: Json) -> Iterator[Operation]:
    """Yields the operations, without webhooks, in the order of the document."""
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for method in [key for key in item if key in METHODS]:
            if "webhooks" not in item[method].get("tags", ()):
                yield operation_of(path, method, item, schemas)


def operation_of(path: str, method: str, item: Json, schemas: Json) -> Operation:
    """Returns the operation of a method of a path, with the parameters that all methods of the path share."""
    described = item[method]
    service, _, name = described["operationId"].partition(".")
    description = [described[part] for part in ("summary", "description") if described.get(part)]
    given = [*item.get("parameters", ()), *described.get("parameters", ())]
    parameters = [*map(parameter, given), *body(described)]
    return Operation(
        service, name, method.upper(), path, description, parameters, response(described["responses"], schemas)
    )


def parameter(described: Json) -> Parameter:
    name, place, schema = described["name"], described["in"], described["schema"]
    return Parameter(
        name, place, type_of(without_null(schema)), described.get("required", False), described.get("description", "")
    )


def body(operation: Json) -> Iterator[Parameter]:
    """Yields the body of the request, if it has one, as a parameter of the method."""
    if request := operation.get("requestBody"):
        match request["content"]:
            case {"application/json": {"schema": dict(sent)}}:
                schema = without_null(sent)
            case content:
                raise UnsupportedSchemaError(f"{operation['operationId']} takes {', '.join(content)}, not JSON")
        yield Parameter("body", "body", type_of(schema), request.get("required", False), "")


def response(responses: Json, schemas: Json) -> Response:
    """Returns the response of success. CSV, which some routes also offer, is for spreadsheets."""
    (success,) = (response for status, response in responses.items() if status.startswith("2"))
    if "content" not in success:
        return Response("send")
    (content,) = [content for media_type, content in success["content"].items() if media_type != "text/csv"]
    kind = type_of(content["schema"])
    schema = schemas.get(content["schema"].get("$ref", "").rpartition("/")[2], {})
    if (inner := data_schema(schema)) is not None:
        return Response("fetch_data", type_of(inner))
    if {"data", "page", "limit", "total"} <= schema.get("properties", {}).keys():
        return Response("list", kind, type_of(schema["properties"]["data"]["items"]))
    return Response("fetch", kind)


def without_null(schema: Json) -> Json:
    """Returns the schema without null, because an optional parameter is omitted, not sent as null."""
    match schema:
        case {"anyOf": [dict(only), {"type": "null"}]}:
            return only
        case _:
            return schema


def type_of(schema: Json) -> str:
    """Returns the Python type of a parameter or a response. Raises UnsupportedSchemaError."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return name if "." in name else f"models.{name}"
        case {"type": "array", "items": dict(items)}:
            return f"list[{type_of(items)}]"
        case {"type": "object"}:
            return "dict[str, object]"
        case {"enum": [*values]}:
            return f"Literal[{', '.join(map(repr, values))}]"
        case {"type": str(kind)} if (kind, schema.get("format")) in SCALARS:
            return SCALARS[kind, schema.get("format")]
        case _:
            raise UnsupportedSchemaError(f"no type for {json.dumps(schema)}")


def data_schema(schema: Json) -> Json | None:
    """Returns the schema of `data` if that is the only property of a schema, else None."""
    properties = schema.get("properties", {})
    return properties["data"] if properties.keys() == {"data"} else None
