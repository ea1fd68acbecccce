"""Access tokens: JSON Web Tokens (RFC 7519), signed with Ed25519 (RFC 8037).

Every service can verify them with the public key, and none can forge one.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import jwt
from chassis.http.authentication import ALGORITHM, ISSUER
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from user_service.domain.accounts import Account

_PURPOSE = "ecommerce access tokens v1"


def derive_key(purpose: str, secret: str) -> bytes:
    """Derives a key for one purpose (HKDF, RFC 5869). A leaked key reveals neither the secret nor the other keys."""
    return HKDF(hashes.SHA256(), length=32, salt=None, info=purpose.encode()).derive(secret.encode())


class Signer:
    """Signs access tokens with a key pair that is derived from a secret.

    So every replica has the same key pair, and keeps it after a restart.
    """

    def __init__(
        self, secret: str, lifetime: timedelta, new_id: Callable[[], UUID], also_published: Sequence[str] = ()
    ) -> None:
        """`also_published` are the secrets whose public keys verify tokens too: the previous one and the next."""
        self.lifetime = lifetime
        self._new_id = new_id
        self._key = _private_key(secret)
        published = {jwk["kid"]: jwk for jwk in (_jwk(_private_key(each)) for each in (secret, *also_published))}
        self._kid = next(iter(published))
        self.jwks = json.dumps({"keys": list(published.values())})
        """The published JSON Web Key Set (RFC 7517)."""

    def access_token(self, account: Account, session_id: UUID, at: datetime) -> str:
        claims = {
            "iss": ISSUER,
            "sub": str(account.id),
            "sid": str(session_id),
            "role": account.role.value,
            "iat": at,
            "exp": at + self.lifetime,
            "jti": str(self._new_id()),
        }
        return jwt.encode(claims, self._key, ALGORITHM, headers={"kid": self._kid})

    async def fetch_jwks(self) -> str:
        """Returns the key set, in the form that a `TokenVerifier` needs."""
        return self.jwks


def _private_key(secret: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(derive_key(_PURPOSE, secret))


def _jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    """Returns the public half of a key."""
    public = {"crv": "Ed25519", "kty": "OKP", "x": _base64(key.public_key().public_bytes_raw())}
    return {**public, "kid": _thumbprint(public), "use": "sig", "alg": ALGORITHM}


def _thumbprint(key: dict[str, str]) -> str:
    """Returns the thumbprint of a key (RFC 7638).

    It is the SHA-256 of the required members, in the order of their names, without spaces.
    """
    return _base64(hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode()).digest())


def _base64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
