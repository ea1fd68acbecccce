"""Devices: the programs and networks with which an account has logged in before.

They are stored as digests, bound to the account: they show neither an address nor which accounts share a network.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Address, ip_network
from typing import NewType

from chassis.types.addresses import parse_address
from chassis.types.ids import UserId

Network = NewType("Network", str)
"""A network from which callers come, as text: `203.0.113.0/24`."""

UNKNOWN_NETWORK = Network("unknown")
_IPV4_PREFIX, _IPV6_PREFIX = 24, 64
"""What one household or company has: addresses within it are one origin."""
_VERSION = re.compile(r"[0-9][0-9._]*")


@dataclass(frozen=True, slots=True)
class Client:
    """The origin of a request. `user_agent` is the program's own statement, which may be wrong."""

    network: Network = UNKNOWN_NETWORK
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A program on a network, as one account has used it."""

    network_digest: bytes
    program_digest: bytes


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """When a device was used for a login."""

    first_used_at: datetime
    last_used_at: datetime


def network_of(address: str | None) -> Network:
    """Returns the /24 of an IPv4 address, or the /64 of an IPv6 address. An IPv4-mapped IPv6 address is an IPv4 one."""
    parsed = parse_address(address or "")
    if parsed is None:
        return UNKNOWN_NETWORK
    prefix = _IPV6_PREFIX if isinstance(parsed, IPv6Address) else _IPV4_PREFIX
    return Network(str(ip_network((parsed, prefix), strict=False)))


def device_of(user_id: UserId, client: Client, key: bytes) -> Device:
    """Returns the device of a client. A new version of the same program is the same device."""
    program = _VERSION.sub("", client.user_agent or "")
    return Device(
        _digest(key, "network", str(user_id), client.network),
        _digest(key, "program", str(user_id), program),
    )


def _digest(key: bytes, *parts: str) -> bytes:
    return hmac.digest(key, "\0".join(parts).encode(), hashlib.sha256)
