"""An S3 server for tests: moto's, in an environment of its own, since its dependencies are others."""

import asyncio
import shutil
import subprocess
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from chassis_testing.waiting import eventually

_MOTO = ["tool", "run", "--from", "moto[s3]==5.2.5", "--with", "flask", "--with", "flask-cors", "moto_server"]
_ROOT = Path(__file__).parents[3]
_START_SECONDS = 300


@asynccontextmanager
async def s3_server(address: str, port: int) -> AsyncIterator[httpx.AsyncClient]:
    """Runs the server until the block ends. Gives a client of it, once it answers. Raises RuntimeError if it ends."""
    uv = shutil.which("uv") or _ROOT / ".tools/bin/uv"
    server = await asyncio.create_subprocess_exec(
        uv, *_MOTO, "-H", address, "-p", str(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}:{port}", timeout=120) as client:
            await eventually(lambda: _answers(client, server), within=_START_SECONDS)
            yield client
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()


def signed_for(service: str) -> Mapping[str, str]:
    """Returns the header by which moto tells for which service of AWS a request is. It checks no signature yet."""
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential=none/20260101/us-east-1/{service}/aws4_request"}


async def _answers(client: httpx.AsyncClient, server: Process) -> bool:
    if server.returncode is not None:
        raise RuntimeError(f"the S3 server ended with exit code {server.returncode}: {' '.join(_MOTO)}")
    try:
        return (await client.get("/moto-api/data.json")).is_success
    except httpx.TransportError:
        return False
