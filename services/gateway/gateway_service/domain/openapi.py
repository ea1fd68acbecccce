"""Merges the OpenAPI documents of all services into one OpenAPI 3.1 document."""

import re
from collections.abc import Mapping
from typing import Any

from chassis.types.problem import PROBLEM_SCHEMA

from gateway_service.domain.routes import AUTHENTICATED, PUBLIC, ROUTES, Ownership, Route, Upstream

Document = dict[str, Any]

_SCHEMAS = "#/components/schemas/"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The `access_token` in the response of `POST /api/v1/auth/login`.",
}
_TOKEN_REQUIRED: list[Document] = [{"bearer": []}]
_TOKEN_OPTIONAL: list[Document] = [{}, {"bearer": []}]
_COMMON_SCHEMAS = frozenset({"Money", "Price"})
"""The schemas that services share through the chassis. They have the same meaning everywhere, and appear once."""
_VARIABLE = re.compile(r"\{[^}]*\}")


def merge_documents(documents: Mapping[Upstream, Document | None], title: str, version: str) -> Document:
    """Returns the document of all operations that the gateway serves. Services without a document are listed in it."""
    paths: Document = {}
    schemas: Document = {"Problem": {**PROBLEM_SCHEMA, "description": "RFC 9457 problem"}}
    for upstream, document in documents.items():
        if document is not None:
            for path, item in _paths(upstream, document).items():
                paths[path] = paths.get(path, {}) | item
            schemas |= _schemas(upstream, document)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _description(documents)},
        "paths": paths,
        "components": {"schemas": schemas, "responses": _RESPONSES, "securitySchemes": {"bearer": _BEARER}},
    }


def _description(documents: Mapping[Upstream, Document | None]) -> str:
    text = (
        'Responses are `{"data": …}`, errors are RFC 9457 problems with a stable `code`. '
        "`/api/…` without a version is an alias of `/api/v1/…`. "
        "The headers `RateLimit-Policy` and `RateLimit` state the caller's quota, and how much of it remains."
    )
    missing = [upstream.value for upstream, document in documents.items() if document is None]
    return f"{text}\n\nMissing, because the service does not respond: {', '.join(missing)}." if missing else text


_ROUTES_BY_PATTERN: Mapping[tuple[str, str], Route] = {
    (route.method.lower(), _VARIABLE.sub("{}", route.path)): route for route in ROUTES
}
"""The routes by method and path pattern, in which variables have no names: a service may name them differently."""


def _paths(upstream: Upstream, document: Document) -> Document:
    items = {path: _item(upstream, path, item) for path, item in document.get("paths", {}).items()}
    return {path: item for path, item in items.items() if item}


def _item(upstream: Upstream, path: str, item: Document) -> Document:
    """Returns the operations of a path that the gateway serves, and what they share; empty if it serves none."""
    pattern = _VARIABLE.sub("{}", path)
    operations = {}
    for method, operation in item.items():
        route = _ROUTES_BY_PATTERN.get((method, pattern))
        if route is not None and route.upstream is upstream:
            operations[method] = _operation(route, operation)
    shared = {key: _qualified(item[key], upstream) for key in ("summary", "description", "parameters") if key in item}
    return shared | operations if operations else {}


def _operation(route: Route, operation: Document) -> Document:
    operation_id = (
        operation.get("operationId") or f"{route.method.lower()}{_VARIABLE.sub('', route.path).replace('/', '_')}"
    )
    renamed: Document = _qualified(operation, route.upstream)
    result = renamed | {
        "operationId": f"{route.upstream}.{operation_id}",
        "responses": {**_gateway_responses(route), **renamed.get("responses", {})},
    }
    if not route.is_public:
        return result | {"security": _TOKEN_REQUIRED, "description": _described(renamed, route)}
    return result | {"security": _TOKEN_OPTIONAL} if route.ownership is Ownership.SELF else _without(result, "security")


def _described(operation: Document, route: Route) -> str:
    roles = (
        "" if route.roles == AUTHENTICATED else f"Only for {' and '.join(f'{role}s' for role in sorted(route.roles))}."
    )
    return " ".join(filter(None, (operation.get("description", ""), roles)))


def _without(operation: Document, key: str) -> Document:
    return {name: value for name, value in operation.items() if name != key}


def _gateway_responses(route: Route) -> Document:
    """Returns the error responses of the gateway itself."""
    statuses = ["429", "503"]
    if route.roles != PUBLIC:
        statuses += ["401"] if route.roles == AUTHENTICATED else ["401", "403"]
    return {status: {"$ref": f"#/components/responses/{_NAMES[status]}"} for status in sorted(statuses)}


def _schemas(upstream: Upstream, document: Document) -> Document:
    schemas: Document = document.get("components", {}).get("schemas", {})
    return {_name(name, upstream): _qualified(schema, upstream) for name, schema in schemas.items()}


def _name(schema: str, upstream: Upstream) -> str:
    return schema if schema in _COMMON_SCHEMAS else f"{upstream}.{schema}"


def _qualified(node: Any, upstream: Upstream) -> Any:
    """Adds the service's name to all references to schemas, so that two services may use one name for two schemas.

    The schema of a problem, which each service has inline, becomes a reference too.
    """
    match node:
        case dict() if node == PROBLEM_SCHEMA:
            return {"$ref": f"{_SCHEMAS}Problem"}
        case dict():
            return {key: _qualified(value, upstream) for key, value in node.items()}
        case list():
            return [_qualified(value, upstream) for value in node]
        case str() if node.startswith(_SCHEMAS):
            return f"{_SCHEMAS}{_name(node.removeprefix(_SCHEMAS), upstream)}"
        case _:
            return node


def _error_response(description: str, *headers: str) -> Document:
    return {
        "description": description,
        "headers": {name: {"schema": {"type": "string"}} for name in headers},
        "content": {"application/problem+json": {"schema": {"$ref": f"{_SCHEMAS}Problem"}}},
    }


_NAMES = {"401": "Unauthenticated", "403": "Forbidden", "429": "TooManyRequests", "503": "Unavailable"}
_RESPONSES: Document = {
    "Unauthenticated": _error_response(
        "`unauthenticated` or `token_expired`: send a valid access token.", "WWW-Authenticate"
    ),
    "Forbidden": _error_response("`forbidden`: your role may not make this request."),
    "TooManyRequests": _error_response(
        "`too_many_requests`: try again after `Retry-After` seconds. `too_many_concurrent_requests`: too many of your "
        "requests are unfinished.",
        "Retry-After",
        "RateLimit",
        "RateLimit-Policy",
    ),
    "Unavailable": _error_response(
        "`upstream_unavailable`, `circuit_open`, `upstream_busy`, `gateway_busy`: the request was not executed. "
        "`upstream_timeout`: the request may still be executed.",
        "Retry-After",
    ),
}
