"""One OpenAPI 3.1 document out of many. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from chassis.types.problem import PROBLEM_SCHEMA

from gateway_service.domain.routes import ANYBODY, ROUTES, USERS, Ownership, Route, Upstream

Document = dict[str, Any]

_SCHEMAS = "#/components/schemas/"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The `access_token` that `POST /api/v1/auth/login` answers.",
}
_NEEDS_TOKEN: list[Document] = [{"bearer": []}]
_MAY_HAVE_TOKEN: list[Document] = [{}, {"bearer": []}]
_SHARED = frozenset({"Money", "Price"})
"""Schemas that services have from the chassis: they mean the same everywhere, and are one here."""
_VARIABLE = re.compile(r"\{[^}]*\}")


def merged(documents: Mapping[Upstream, Document | None], title: str, version: str) -> Document:
    """What the gateway serves of each service. A service without a document is named in the description."""
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
        'Answers are `{"data": …}`, errors are RFC 9457 problems with a stable `code`. '
        "`/api/…` without a version is another name of `/api/v1/…`. "
        "`RateLimit-Policy` and `RateLimit` say how often one may ask, and what is left of it."
    )
    away = [upstream.value for upstream, document in documents.items() if document is None]
    return f"{text}\n\nNot shown, because it is not answering: {', '.join(away)}." if away else text


_SHAPES: Mapping[tuple[str, str], Route] = {
    (route.method.lower(), _VARIABLE.sub("{}", route.path)): route for route in ROUTES
}
"""Rows by method and path, whatever a service calls the variables in it."""


def _paths(upstream: Upstream, document: Document) -> Document:
    items = {path: _item(upstream, path, item) for path, item in document.get("paths", {}).items()}
    return {path: item for path, item in items.items() if item}


def _item(upstream: Upstream, path: str, item: Document) -> Document:
    """Of a path, the methods that the gateway serves, with what all of them share; empty where there are none."""
    shape = _VARIABLE.sub("{}", path)
    operations = {}
    for method, operation in item.items():
        route = _SHAPES.get((method, shape))
        if route is not None and route.upstream is upstream:
            operations[method] = _operation(route, operation)
    shared = {key: _qualified(item[key], upstream) for key in ("summary", "description", "parameters") if key in item}
    return shared | operations if operations else {}


def _operation(route: Route, operation: Document) -> Document:
    own_id = operation.get("operationId") or f"{route.method.lower()}{_VARIABLE.sub('', route.path).replace('/', '_')}"
    renamed: Document = _qualified(operation, route.upstream)
    result = renamed | {
        "operationId": f"{route.upstream}.{own_id}",
        "responses": {**_refusals(route), **renamed.get("responses", {})},
    }
    if not route.is_public:
        return result | {"security": _NEEDS_TOKEN, "description": _described(renamed, route)}
    return result | {"security": _MAY_HAVE_TOKEN} if route.ownership is Ownership.SELF else _without(result, "security")


def _described(operation: Document, route: Route) -> str:
    who = "" if route.roles == USERS else f"For {' and '.join(f'{role}s' for role in sorted(route.roles))} alone."
    return " ".join(filter(None, (operation.get("description", ""), who)))


def _without(operation: Document, key: str) -> Document:
    return {name: value for name, value in operation.items() if name != key}


def _refusals(route: Route) -> Document:
    """What the gateway answers in place of the service."""
    statuses = ["429", "503"]
    if route.roles != ANYBODY:
        statuses += ["401"] if route.roles == USERS else ["401", "403"]
    return {status: {"$ref": f"#/components/responses/{_NAMES[status]}"} for status in sorted(statuses)}


def _schemas(upstream: Upstream, document: Document) -> Document:
    schemas: Document = document.get("components", {}).get("schemas", {})
    return {_name(name, upstream): _qualified(schema, upstream) for name, schema in schemas.items()}


def _name(schema: str, upstream: Upstream) -> str:
    return schema if schema in _SHARED else f"{upstream}.{schema}"


def _qualified(node: Any, upstream: Upstream) -> Any:
    """The same JSON, its references to schemas led by the service's name, so that two services may use one name for two things.

    A problem, which each service spells out, becomes a reference, too.
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


def _refusal(description: str, *headers: str) -> Document:
    return {
        "description": description,
        "headers": {name: {"schema": {"type": "string"}} for name in headers},
        "content": {"application/problem+json": {"schema": {"$ref": f"{_SCHEMAS}Problem"}}},
    }


_NAMES = {"401": "Unauthenticated", "403": "Forbidden", "429": "TooManyRequests", "503": "Unavailable"}
_RESPONSES: Document = {
    "Unauthenticated": _refusal("`unauthenticated` or `token_expired`: send a valid access token.", "WWW-Authenticate"),
    "Forbidden": _refusal("`forbidden`: this is for other roles."),
    "TooManyRequests": _refusal(
        "`too_many_requests`: come again after `Retry-After` seconds.", "Retry-After", "RateLimit", "RateLimit-Policy"
    ),
    "Unavailable": _refusal(
        "`upstream_unavailable`, `upstream_resting`, `upstream_busy`: nothing was done. "
        "`upstream_timeout`: what was asked for may yet happen.",
        "Retry-After",
    ),
}
