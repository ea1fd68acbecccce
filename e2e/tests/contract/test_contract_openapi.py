"""Every service conforms to its OpenAPI document, whatever is sent: schemathesis with all its checks."""

import asyncio
import sys
from pathlib import Path

import pytest
from devtools.services import SERVICES
from devtools.shop_client import Person, Shop
from devtools.stack import Stack

_CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.parametrize("examples", [10, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("service", [service for service in SERVICES if service != "gateway"])
async def test_a_service_conforms_to_its_openapi_document(
    stack: Stack, shop: Shop, admin: Person, service: str, examples: int
) -> None:
    """Sends so many examples of each operation, and of each way in which a request may be invalid."""
    status, output = await _schemathesis(stack.url_of(service), await shop.another_admin(admin), examples)

    print(output)
    assert status == 0, output


async def _schemathesis(url: str, caller: Person, examples: int) -> tuple[int | None, str]:
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
    return process.returncode, output.decode()
