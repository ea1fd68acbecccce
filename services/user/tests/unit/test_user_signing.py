import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
import pytest
from chassis.errors import ProblemError
from chassis.http.authentication import Role, TokenVerifier
from chassis.types.ids import UserId, uuid7
from user_service.domain import accounts
from user_service.service.signing import Signer, _thumbprint

SECRET = "0123456789abcdef0123456789abcdef"
SELLER = accounts.Account(
    UserId(7), accounts.Email("s@example.com"), accounts.Role.SELLER, "S", datetime(2026, 1, 1, tzinfo=UTC)
)
SESSION = UUID(int=1)


def signer(secret: str = SECRET, seconds: float = 900) -> Signer:
    return Signer(secret, timedelta(seconds=seconds), uuid7)


def test_every_service_can_verify_a_signed_token() -> None:
    token = signer().access_token(SELLER, SESSION, datetime.now(UTC))
    principal = asyncio.run(TokenVerifier(signer().fetch_jwks).verify(token))
    assert (principal.user_id, principal.role) == (SELLER.id, Role.SELLER)


def test_the_claims_are_those_that_verifiers_need() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    claims = jwt.decode(signer().access_token(SELLER, SESSION, at), options={"verify_signature": False})
    assert claims.keys() == {"iss", "sub", "sid", "role", "iat", "exp", "jti"}
    assert (claims["iss"], claims["sub"], claims["role"]) == ("ecommerce", "7", "seller")
    assert claims["sid"] == str(SESSION)
    assert claims["exp"] - claims["iat"] == 900


def test_replicas_with_the_same_secret_publish_the_same_key() -> None:
    assert signer().jwks == signer().jwks
    assert signer().jwks != signer(SECRET + "!").jwks


def test_only_the_public_half_is_published() -> None:
    (key,) = json.loads(signer().jwks)["keys"]
    assert key.keys() == {"crv", "kty", "x", "kid", "use", "alg"}


def test_the_key_is_named_by_its_thumbprint() -> None:
    # the example of RFC 8037, appendix A.3
    key = {"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert _thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_token_signed_with_another_secret_is_refused() -> None:
    forged = signer(SECRET + "!").access_token(SELLER, SESSION, datetime.now(UTC))
    with pytest.raises(ProblemError) as refused:
        asyncio.run(TokenVerifier(signer().fetch_jwks).verify(forged))
    assert refused.value.problem.code == "unauthenticated"


def test_tokens_of_the_previous_and_of_the_next_key_verify_while_both_are_published() -> None:
    old, new = SECRET, SECRET + "!"
    before = Signer(old, timedelta(minutes=15), uuid7, [new])
    after = Signer(new, timedelta(minutes=15), uuid7, [old])
    now = datetime.now(UTC)
    for published in (before, after):
        verifier = TokenVerifier(published.fetch_jwks)
        for token in (before.access_token(SELLER, SESSION, now), after.access_token(SELLER, SESSION, now)):
            assert asyncio.run(verifier.verify(token)).user_id == SELLER.id
    assert {key["kid"] for key in json.loads(before.jwks)["keys"]} == {
        key["kid"] for key in json.loads(after.jwks)["keys"]
    }


def test_a_key_is_retired_with_its_secret() -> None:
    token = signer().access_token(SELLER, SESSION, datetime.now(UTC))
    retired = Signer(SECRET + "!", timedelta(minutes=15), uuid7)
    with pytest.raises(ProblemError):
        asyncio.run(TokenVerifier(retired.fetch_jwks).verify(token))
