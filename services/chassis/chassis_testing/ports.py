"""Free TCP ports for the servers of a test run."""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

_PORTS = range(20_000, 30_000)
"""Below what the kernel gives to outgoing connections, so that a server which is down for a moment finds its port free again."""
_claims: list[int] = []


def free_port() -> int:
    """A port of this machine that nobody listens on, and that nobody else is given here before this process ends."""
    claims = Path(tempfile.gettempdir()) / "ecommerce-test-ports"
    claims.mkdir(exist_ok=True)
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        claim = os.open(claims / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        if _is_granted(claim) and _is_free(port):
            _claims.append(claim)
            return port
        os.close(claim)


def _is_granted(claim: int) -> bool:
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
