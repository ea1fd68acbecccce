"""An S3 server beside the cluster, which outlives a namespace."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from chassis_testing.waiting import eventually

from shop_e2e.cluster.kubectl import Object, command

_MOTO = ["tool", "run", "--from", "moto[s3]==5.2.5", "--with", "flask", "--with", "flask-cors", "moto_server"]
_ROOT = Path(__file__).parents[3]
_SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=none/20260101/us-east-1/s3/aws4_request"}
SECRET = "backup-bucket"
"""The Secret with the credentials of the bucket. The server accepts any."""


@asynccontextmanager
async def bucket() -> AsyncIterator[Object]:
    """Runs moto's server on the address of this machine that pods reach, and gives the destination of its bucket."""
    address = command("docker", "network", "inspect", "kind", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    with socket.socket() as unused:
        unused.bind((address, 0))
        port = unused.getsockname()[1]
    uv = shutil.which("uv") or _ROOT / ".tools/bin/uv"
    server = await asyncio.create_subprocess_exec(
        uv, *_MOTO, "-H", address, "-p", str(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}:{port}", timeout=30) as client:
            await eventually(lambda: _answers(client), within=300)
            (await client.put("/backups", headers=_SIGNED)).raise_for_status()
        yield {"s3": {"bucket": "backups", "endpoint": f"http://{address}:{port}", "secretRef": {"name": SECRET}}}
    finally:
        server.terminate()
        await server.wait()


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/moto-api/data.json")).is_success
    except httpx.TransportError:
        return False
