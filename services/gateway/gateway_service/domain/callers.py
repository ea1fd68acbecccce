"""Where a request comes from, which only those who are trusted may say for another (X-Forwarded-*). Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Names in lower case."""

_Address = IPv4Address | IPv6Address
_FORWARDING = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")


@dataclass(frozen=True, slots=True)
class Caller:
    """How a request arrived: whose it is, and what the caller themself used as scheme and host."""

    address: str
    scheme: str
    host: str
    way: str
    """The address and those of the proxies since, the nearest last."""


class TrustedProxies:
    def __init__(self, text: str = "") -> None:
        """`text` has networks with commas between them, like 10.0.0.0/8,fd00::/8. Raises ValueError."""
        self._networks = tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
        self._is_trusted = lru_cache(1024)(self._lies_within)

    def caller(self, peer: str, scheme: str, headers: RawHeaders) -> Caller:
        """The caller as far as it can be known: whoever is not trusted says nothing about others."""
        said = {name: value.decode("latin-1") for name, value in headers if name in _FORWARDING or name == b"host"}
        host = said.get(b"host", "")
        if not self._is_trusted(peer):
            return Caller(peer, scheme, host, peer)
        way = [part.strip() for name, value in headers if name == _FORWARDING[0] for part in _text(value).split(",")]
        proto = said.get(b"x-forwarded-proto", "").split(",")[-1].strip().lower()
        return Caller(
            self._first_stranger(peer, way),
            proto if proto in ("http", "https") else scheme,
            said.get(b"x-forwarded-host", host).split(",")[-1].strip(),
            ", ".join([*filter(None, way), peer]),
        )

    def _first_stranger(self, peer: str, way: list[str]) -> str:
        """From the nearest back: the first address that no trusted proxy has. What is no address ends the search."""
        nearest = peer
        for address in reversed(way):
            if _parsed(address) is None:
                return nearest
            nearest = address
            if not self._is_trusted(address):
                return nearest
        return nearest

    def _lies_within(self, text: str) -> bool:
        address = _parsed(text)
        return address is not None and any(address in network for network in self._networks)


@lru_cache(4096)
def household(address: str) -> str:
    """What counts as one caller: an IPv4 address, or the /64 that a subscriber has of IPv6."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, 64), strict=False))
    return str(parsed or "unknown")


def _parsed(text: str) -> _Address | None:
    """IPv4 addresses in the dress of IPv6 are IPv4 addresses."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")
