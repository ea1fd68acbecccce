"""Access tokens, which a test signs with its own key."""

import json
import time
from uuid import UUID

import jwt
from chassis.http.authentication import ALGORITHM, ISSUER, Role
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm


class TokenIssuer:
    """Signs access tokens as the user service does, with a new key."""

    def __init__(self, kid: str = "test") -> None:
        self._key = Ed25519PrivateKey.generate()
        self._kid = kid

    def jwks(self) -> str:
        """Returns the JSON Web Key Set with the public key."""
        public = OKPAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**public, "kid": self._kid, "alg": ALGORITHM, "use": "sig"}]})

    def token(
        self, user_id: int, role: Role = Role.CUSTOMER, expires_in: float = 600, session_id: UUID | None = None
    ) -> str:
        claims = {"iss": ISSUER, "sub": str(user_id), "role": role.value, "exp": time.time() + expires_in}
        if session_id is not None:
            claims["sid"] = str(session_id)
        return jwt.encode(claims, self._key, ALGORITHM, headers={"kid": self._kid})

    def bearer(
        self, user_id: int, role: Role = Role.CUSTOMER, expires_in: float = 600, session_id: UUID | None = None
    ) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user_id, role, expires_in, session_id)}"}
