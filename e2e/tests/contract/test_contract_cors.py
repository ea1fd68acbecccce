"""Web pages of other origins can use the whole API."""

import json
from pathlib import Path

from gateway_service.handlers.cors import ALLOWED_HEADERS

_DOCUMENT = Path(__file__).parents[3] / "docs/api/openapi/gateway.json"
_OF_EVERY_BROWSER = {"user-agent"}


def test_pages_may_send_every_header_that_the_api_reads() -> None:
    paths = json.loads(_DOCUMENT.read_text())["paths"]
    read = {
        parameter["name"].lower()
        for path, operations in paths.items()
        if "/webhooks/" not in path  # their callers are servers
        for operation in operations.values()
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "header"
    }
    assert {"cart-token", "idempotency-key"} <= read
    assert read - _OF_EVERY_BROWSER <= {name.lower() for name in ALLOWED_HEADERS}
