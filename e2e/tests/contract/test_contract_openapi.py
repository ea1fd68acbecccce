"""Every service answers as its OpenAPI document says, whatever is sent: schemathesis with all its checks."""

import asyncio
import sys
from pathlib import Path

import pytest
from shop_e2e.client import Person, Shop
from shop_e2e.stack import SERVICES, Stack

_CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
_EXAMPLES, _MANY = 10, 100
"""Of requests, for each operation and each way in which one may be wrong."""
of_every_service = pytest.mark.parametrize("service", [service for service in SERVICES if service != "gateway"])


@of_every_service
async def test_a_service_does_what_its_openapi_document_says(
    stack: Stack, shop: Shop, admin: Person, service: str
) -> None:
    await _schemathesis(stack.url_of(service), await shop.another_admin(admin), _EXAMPLES)


@pytest.mark.slow
@of_every_service
async def test_a_service_does_what_its_openapi_document_says_for_long(
    stack: Stack, shop: Shop, admin: Person, service: str
) -> None:
    await _schemathesis(stack.url_of(service), await shop.another_admin(admin), _MANY)


async def _schemathesis(url: str, caller: Person, examples: int) -> None:
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={_CONFIGURATION}",
        "run",
        f"{url}/openapi.json",
        f"--max-examples={examples}",
        f"--header=Authorization: Bearer {caller.token}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
