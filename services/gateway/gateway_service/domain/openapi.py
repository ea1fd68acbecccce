"""One OpenAPI document out of many. Pure."""

from collections.abc import Mapping
from typing import Any

from gateway_service.domain.routes import Route, Upstream, find

Document = dict[str, Any]

_SCHEMAS = "#/components/schemas/"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The `access_token` that `POST /api/v1/auth/login` answers.",
}


def merged(documents: Mapping[Upstream, Document | None], title: str, version: str) -> Document:
    """What the gateway serves of each service. A service without a document is named in the description."""
    paths: Document = {}
    schemas: Document = {}
    for upstream, document in documents.items():
        if document is not None:
            paths |= _paths(upstream, document)
            schemas |= _schemas(upstream, document)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _description(documents)},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"bearer": _BEARER}},
    }


def _description(documents: Mapping[Upstream, Document | None]) -> str:
    text = (
        'Answers are `{"data": …}`, errors are RFC 9457 problems with a stable `code`. '
        "`/api/…` without a version is another name of `/api/v1/…`."
    )
    away = [upstream.value for upstream, document in documents.items() if document is None]
    return f"{text}\n\nNot shown, because it is not answering: {', '.join(away)}." if away else text


def _paths(upstream: Upstream, document: Document) -> Document:
    served = {path: find(path) for path in document.get("paths", {})}
    return {
        path: _path(upstream, document["paths"][path], route)
        for path, route in served.items()
        if route is not None and route.upstream is upstream
    }


def _path(upstream: Upstream, item: Document, route: Route) -> Document:
    renamed: Document = _qualified(item, upstream)
    return {
        key: _operation(upstream, value, route.needs_token(key.upper())) if key in _METHODS else value
        for key, value in renamed.items()
    }


def _operation(upstream: Upstream, operation: Document, needs_token: bool) -> Document:
    named = operation | {"operationId": f"{upstream}.{operation.get('operationId', 'operation')}"}
    return named | {"security": [{"bearer": []}]} if needs_token else named


def _schemas(upstream: Upstream, document: Document) -> Document:
    schemas: Document = document.get("components", {}).get("schemas", {})
    return {f"{upstream}.{name}": _qualified(schema, upstream) for name, schema in schemas.items()}


def _qualified(node: Any, upstream: Upstream) -> Any:
    """The same JSON, its references to schemas led by the service's name, so that two services may use one name."""
    match node:
        case dict():
            return {key: _qualified(value, upstream) for key, value in node.items()}
        case list():
            return [_qualified(value, upstream) for value in node]
        case str() if node.startswith(_SCHEMAS):
            return f"{_SCHEMAS}{upstream}.{node.removeprefix(_SCHEMAS)}"
        case _:
            return node
