"""Every request of the published Postman collection is answered as it asserts."""

import asyncio
from pathlib import Path

from devtools.stack import Stack

_ROOT = Path(__file__).parents[3]
_COLLECTION = _ROOT / "docs/api/postman/ecommerce.postman_collection.json"


async def test_the_postman_collection_runs_against_the_shop(stack: Stack) -> None:
    newman = (await _output(str(_ROOT / "hack/cluster/newman")))[1].strip()
    plan = stack.plan
    variables = {"base_url": stack.url, "admin_email": plan.admin_email, "admin_password": plan.admin_password}
    options = [option for name, value in variables.items() for option in ("--env-var", f"{name}={value}")]

    status, output = await _output(newman, "run", str(_COLLECTION), "--color", "off", "--bail", "failure", *options)

    print(output)
    assert status == 0, output


async def _output(*command: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return process.returncode, output.decode()
