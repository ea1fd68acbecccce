"""IP addresses of clients, and what counts as one client."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address


@lru_cache(4096)
def network_key(address: str) -> str:
    """Returns what is counted as one client: an IPv4 address, or the /64 that an IPv6 subscriber has."""
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, 64), strict=False))
    return str(parsed or "unknown")


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parses an address; None if it is malformed. An IPv4-mapped IPv6 address becomes the IPv4 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
