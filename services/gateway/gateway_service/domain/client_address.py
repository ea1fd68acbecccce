"""Finds the address of the client, which only trusted proxies may state for another host (X-Forwarded-*)."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network

from chassis.types.addresses import parse_address

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Names in lower case."""

_FORWARDED_HEADERS = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """The address of the client, and the scheme and host that it used."""

    address: str
    scheme: str
    host: str
    forwarded_for: str
    """The address of the client and of each proxy after it, the nearest last."""
    ignores_headers: bool = False
    """True if the request has X-Forwarded-* headers of a peer that is not trusted."""


class TrustedProxies:
    """The networks of the proxies whose X-Forwarded-* headers are believed."""

    def __init__(self, networks: str = "") -> None:
        """`networks` are separated by commas, like 10.0.0.0/8,fd00::/8. Raises ValueError if one is malformed."""
        self._networks = tuple(ip_network(part.strip()) for part in networks.split(",") if part.strip())
        self.is_trusted = lru_cache(1024)(self._is_in_networks)
        """Tells whether an address is in these networks."""

    def client_address(self, peer: str, scheme: str, headers: RawHeaders) -> ClientAddress:
        """Returns the address of the client. The headers of a peer that is not trusted are ignored."""
        stated = {
            name: value.decode("latin-1") for name, value in headers if name in _FORWARDED_HEADERS or name == b"host"
        }
        host = stated.get(b"host", "")
        if not self.is_trusted(peer):
            return ClientAddress(peer, scheme, host, peer, not stated.keys().isdisjoint(_FORWARDED_HEADERS))
        chain = [
            part.strip() for name, value in headers if name == _FORWARDED_HEADERS[0] for part in _text(value).split(",")
        ]
        proto = stated.get(b"x-forwarded-proto", "").split(",")[-1].strip().lower()
        return ClientAddress(
            self._nearest_untrusted(peer, chain),
            proto if proto in ("http", "https") else scheme,
            stated.get(b"x-forwarded-host", host).split(",")[-1].strip(),
            ", ".join([*filter(None, chain), peer]),
        )

    def _nearest_untrusted(self, peer: str, chain: list[str]) -> str:
        """Returns the nearest address that is not a trusted proxy's. A malformed address ends the search."""
        nearest = peer
        for address in reversed(chain):
            if parse_address(address) is None:
                return nearest
            nearest = address
            if not self.is_trusted(address):
                return nearest
        return nearest

    def _is_in_networks(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(address in network for network in self._networks)


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")
