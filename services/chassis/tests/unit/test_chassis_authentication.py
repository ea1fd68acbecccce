"""Access tokens: forged ones are refused, and valid ones are verified even while the user service is unavailable."""

import base64
import hmac
import json

import pytest
from chassis.errors import NeighbourUnavailable, ProblemError
from chassis.http.authentication import ISSUER, Role, TokenVerifier
from chassis_testing.tokens import TokenIssuer


class Keys:
    """The key set of a user service, which may be unavailable. It counts how often it is fetched."""

    def __init__(self, *issuers: TokenIssuer) -> None:
        self.issuers = list(issuers)
        self.fetches = 0
        self.is_unavailable = False

    async def __call__(self) -> str:
        self.fetches += 1
        if self.is_unavailable:
            raise NeighbourUnavailable("unavailable")
        return self.issuers[-1].jwks()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_valid_token_gives_user_and_role(clock: Clock) -> None:
    issuer = TokenIssuer()

    principal = await TokenVerifier(Keys(issuer), clock).verify(issuer.token(7, Role.SELLER))

    assert (principal.user_id, principal.role) == (7, Role.SELLER)


async def test_a_forged_token_is_refused(clock: Clock) -> None:
    verifier = TokenVerifier(Keys(TokenIssuer()), clock)

    with pytest.raises(ProblemError) as refusal:
        await verifier.verify(TokenIssuer().token(7, Role.ADMIN))

    assert refusal.value.problem.code == "unauthenticated"


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_a_token_cannot_choose_a_weaker_algorithm(clock: Clock, algorithm: str) -> None:
    issuer = TokenIssuer()
    header = _base64({"alg": algorithm, "kid": "test", "typ": "JWT"})
    signed = f"{header}.{_base64({'iss': ISSUER, 'sub': '1', 'role': 'admin', 'exp': 2**40})}"
    signature = hmac.digest(issuer.jwks().encode(), signed.encode(), "sha256") if algorithm == "HS256" else b""

    with pytest.raises(ProblemError) as refusal:
        await TokenVerifier(Keys(issuer), clock).verify(
            f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
        )

    assert refusal.value.problem.code == "unauthenticated"


def _base64(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


async def test_an_expired_token_is_refused_as_expired(clock: Clock) -> None:
    issuer = TokenIssuer()

    with pytest.raises(ProblemError) as refusal:
        await TokenVerifier(Keys(issuer), clock).verify(issuer.token(7, expires_in=-1))

    assert refusal.value.problem.code == "token_expired"


async def test_tokens_are_verified_while_the_user_service_is_unavailable(clock: Clock) -> None:
    issuer = TokenIssuer()
    keys = Keys(issuer)
    verifier = TokenVerifier(keys, clock)
    await verifier.verify(issuer.token(7))

    keys.is_unavailable = True
    clock.now += 3600

    assert (await verifier.verify(issuer.token(7))).user_id == 7


async def test_without_any_key_verification_is_unavailable_not_unauthenticated(clock: Clock) -> None:
    issuer = TokenIssuer()
    keys = Keys(issuer)
    keys.is_unavailable = True

    with pytest.raises(NeighbourUnavailable):
        await TokenVerifier(keys, clock).verify(issuer.token(7))


async def test_a_new_key_is_fetched_once_however_many_unknown_keys_arrive(clock: Clock) -> None:
    old, new, forger = TokenIssuer("old"), TokenIssuer("new"), TokenIssuer("forged")
    keys = Keys(old)
    verifier = TokenVerifier(keys, clock)
    await verifier.verify(old.token(7))
    keys.issuers.append(new)
    clock.now += 6

    assert (await verifier.verify(new.token(7))).user_id == 7
    for _ in range(100):
        with pytest.raises(ProblemError):
            await verifier.verify(forger.token(7))
    assert keys.fetches == 2
