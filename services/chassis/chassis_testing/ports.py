"""TCP ports of the servers of a test run. Processes that run side by side never get the same one."""

import asyncio
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

_PORTS = range(20_000, 30_000)
"""The ports below those of outgoing connections, so that a server which restarts finds its port free again."""
_locks: list[int] = []
"""Open file descriptors. Each locks the file of one port until the process ends."""


def free_port() -> int:
    """Returns a port that no process of this machine listens on, and that no one else gets until this process ends."""
    folder = Path(tempfile.gettempdir()) / "ecommerce-test-ports"
    folder.mkdir(exist_ok=True)
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - not a secret
        lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        if _is_acquired(lock) and _is_free(port):
            _locks.append(lock)
            return port
        os.close(lock)


def _is_acquired(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


async def stop_accepting(listening: socket.socket) -> None:
    """Stops accepting connections, and waits until the server knows each connection that was accepted before.

    Call it before `Server.close`: that of Python 3.11 closes only connections that the server knows, and nothing else
    ever closes the others. The server knows a connection after four iterations of the event loop, which accept it and
    create its transport, its protocol and the task of its handler.
    """
    asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(4):
        await asyncio.sleep(0)
