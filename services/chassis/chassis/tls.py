"""TLS to the stores: the context of a client, which verifies the certificate of the server and its host name."""

import ssl
from functools import lru_cache

SYSTEM = "system"
"""Stands for the authorities that the image trusts, as in `sslrootcert=system` of libpq."""


@lru_cache(maxsize=8)
def client_context(authorities: str) -> ssl.SSLContext:
    """Returns the context of connections to servers whose certificate one of these authorities has signed.

    `authorities` are their certificates in PEM, or `system`. A server is refused unless its certificate is valid now
    and has the host name that the client connects to. Raises ValueError.
    """
    if authorities == SYSTEM:
        context = ssl.create_default_context()
    elif "-----BEGIN CERTIFICATE-----" in authorities:
        context = _trusting(authorities)
    else:
        raise ValueError(f"write certificates in PEM, or `{SYSTEM}`")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _trusting(authorities: str) -> ssl.SSLContext:
    """Returns a context that trusts these authorities alone, and none of the system's."""
    try:
        return ssl.create_default_context(cadata=authorities)
    except ssl.SSLError:
        raise ValueError("no certificate in PEM can be read: copy it whole, with its first and last line") from None
