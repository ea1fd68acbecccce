"""Access tokens: JSON Web Tokens (RFC 7519), signed with Ed25519 (RFC 8037), so that every service can verify and none can forge."""

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import jwt
from chassis.http.authentication import ALGORITHM, ISSUER
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from user_service.domain.accounts import Account

_PURPOSE = "ecommerce access tokens v1"


def key_for(purpose: str, secret: str) -> bytes:
    """A key for one purpose; who learns one learns nothing of the secret, nor of the others (HKDF, RFC 5869)."""
    return HKDF(hashes.SHA256(), length=32, salt=None, info=purpose.encode()).derive(secret.encode())


class Signer:
    """The key pair that a secret stands for: every replica derives the same, and so does the next start."""

    def __init__(self, secret: str, lifetime: timedelta, new_id: Callable[[], UUID]) -> None:
        self.lifetime = lifetime
        self._new_id = new_id
        self._key = Ed25519PrivateKey.from_private_bytes(key_for(_PURPOSE, secret))
        public = {"crv": "Ed25519", "kty": "OKP", "x": _base64(self._key.public_key().public_bytes_raw())}
        self._kid = _thumbprint(public)
        self.jwks = json.dumps({"keys": [{**public, "kid": self._kid, "use": "sig", "alg": ALGORITHM}]})
        """The JSON Web Key Set (RFC 7517) to publish."""

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

    async def published(self) -> str:
        """The key set, as a token verifier fetches it."""
        return self.jwks


def _thumbprint(key: dict[str, str]) -> str:
    """RFC 7638: SHA-256 of the required members, in the order of their names, without spaces."""
    return _base64(hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode()).digest())


def _base64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
