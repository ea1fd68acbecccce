"""A bucket beside the cluster, which outlives a namespace."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

from chassis_testing.s3_server import s3_server, signed_for

from shop_e2e.cluster.kubectl import Object, command

SECRET = "backup-bucket"
"""The Secret with the credentials of the bucket. The server accepts any."""

_GATEWAYS = "{{range .IPAM.Config}}{{.Gateway}} {{end}}"


@asynccontextmanager
async def bucket() -> AsyncIterator[Object]:
    """Runs an S3 server on the address of this machine that pods reach, and gives the destination of its bucket."""
    address = _ipv4_address(command("docker", "network", "inspect", "kind", "--format", _GATEWAYS))
    with socket.socket() as unused:
        unused.bind((address, 0))
        port = unused.getsockname()[1]
    async with s3_server(address, port) as client:
        (await client.put("/backups", headers=signed_for("s3"))).raise_for_status()
        yield {"s3": {"bucket": "backups", "endpoint": str(client.base_url), "secretRef": {"name": SECRET}}}


def _ipv4_address(gateways: str) -> str:
    """Returns the address of IPv4 among the gateways of a network's subnets.

    The subnets have no order, and one of IPv6 may have no gateway.
    """
    (address,) = [gateway for gateway in gateways.split() if ip_address(gateway).version == 4]
    return address
