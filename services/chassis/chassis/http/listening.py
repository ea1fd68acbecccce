"""The address that servers listen on: every interface, by IPv6 and by IPv4."""

import socket


def listen(port: int) -> socket.socket:
    """Returns a socket that listens at a port of every interface; its IPv4 peers have mapped addresses (RFC 4291).

    asyncio itself makes a socket at `::` refuse IPv4. Raises OSError if the port is in use.
    """
    if not socket.has_dualstack_ipv6():
        return socket.create_server(("", port))
    return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
