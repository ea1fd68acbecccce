"""Access tokens: forged ones are refused, and valid ones are verified even while the user service is unavailable."""

import asyncio
import base64
import hmac
import json
import time
from typing import Any
from uuid import UUID

import jwt
import pytest
from chassis.errors import NeighbourUnavailable, ProblemError
from chassis.http.authentication import ISSUER, Principal, Role, TokenVerifier
from chassis.types.ids import UserId
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually


class Keys:
    """The key set of a user service, which may be unavailable. It counts how often it is fetched."""

    def __init__(self, *issuers: TokenIssuer) -> None:
        self.issuers = list(issuers)
        self.fetches = 0
        self.is_unavailable = False
        self.responds = asyncio.Event()
        """A fetch ends once it is set: cleared, it stands for a service that does not respond until the deadline."""
        self.responds.set()

    async def __call__(self) -> str:
        self.fetches += 1
        await self.responds.wait()
        if self.is_unavailable:
            raise NeighbourUnavailable("unavailable")
        return self.issuers[-1].jwks()

    async def until_fetched(self, times: int) -> None:
        async def has_fetched() -> bool:
            return self.fetches == times

        await eventually(has_fetched)


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


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signatures are verified."""
    verified: list[str] = []
    decode = jwt.decode

    def record(token: str, *arguments: Any, **options: Any) -> Any:
        verified.append(token)
        return decode(token, *arguments, **options)

    monkeypatch.setattr(jwt, "decode", record)
    return verified


async def test_a_token_is_verified_once_until_it_expires(clock: Clock, verifications: list[str]) -> None:
    issuer, unix_time = TokenIssuer(), Clock()
    unix_time.now = time.time()
    verifier = TokenVerifier(Keys(issuer), clock, unix_time)
    token, other = issuer.token(7, Role.SELLER, session_id=UUID(int=5)), issuer.token(8)

    first, second = await verifier.verify(token), await verifier.verify(token)
    assert first == second == Principal(UserId(7), Role.SELLER, UUID(int=5))
    assert (await verifier.verify(other)).user_id == 8
    assert verifications == [token, other]

    unix_time.now += 600
    await verifier.verify(token)
    assert verifications == [token, other, token]


async def test_a_verified_token_is_refused_once_it_has_expired(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, unix_time = TokenIssuer(), Clock()
    verifier = TokenVerifier(Keys(issuer), clock, unix_time)
    expired = issuer.token(7, expires_in=-1)
    with monkeypatch.context() as patch:
        patch.setattr(jwt.PyJWT, "_validate_exp", lambda *_: None)  # as it was before it expired
        assert (await verifier.verify(expired)).user_id == 7

    unix_time.now = time.time()
    with pytest.raises(ProblemError) as refusal:
        await verifier.verify(expired)

    assert refusal.value.problem.code == "token_expired"


async def test_a_token_of_a_withdrawn_key_is_refused_although_it_was_verified(clock: Clock) -> None:
    stolen, current = TokenIssuer("stolen"), TokenIssuer("current")
    keys = Keys(stolen)
    verifier = TokenVerifier(keys, clock)
    token = stolen.token(7)
    assert (await verifier.verify(token)).user_id == 7

    keys.issuers.append(current)
    clock.now += 301
    with pytest.raises(ProblemError) as refusal:
        await verifier.verify(token)

    assert refusal.value.problem.code == "unauthenticated"


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


@pytest.mark.parametrize("is_unavailable", [True, False])
async def test_callers_share_one_fetch(clock: Clock, is_unavailable: bool) -> None:
    issuer = TokenIssuer()
    keys = Keys(issuer)
    keys.is_unavailable = is_unavailable
    keys.responds.clear()
    verifier = TokenVerifier(keys, clock)

    callers = [asyncio.ensure_future(verifier.verify(issuer.token(7))) for _ in range(5)]
    await keys.until_fetched(1)
    clock.now += 4
    keys.responds.set()
    results = await asyncio.gather(*callers, return_exceptions=True)

    assert keys.fetches == 1
    assert [isinstance(result, NeighbourUnavailable) for result in results] == [is_unavailable] * 5


async def test_a_caller_that_is_gone_does_not_end_the_fetch_of_the_others(clock: Clock) -> None:
    issuer = TokenIssuer()
    keys = Keys(issuer)
    keys.responds.clear()
    verifier = TokenVerifier(keys, clock)
    first, second = (asyncio.ensure_future(verifier.verify(issuer.token(7))) for _ in range(2))
    await keys.until_fetched(1)

    first.cancel()
    await asyncio.wait([first])
    keys.responds.set()

    assert (await second).user_id == 7
    assert (first.cancelled(), keys.fetches) == (True, 1)


async def test_after_a_failed_fetch_no_caller_waits_and_the_fetch_is_repeated_in_the_background(clock: Clock) -> None:
    issuer = TokenIssuer()
    keys = Keys(issuer)
    keys.is_unavailable = True
    verifier = TokenVerifier(keys, clock)
    with pytest.raises(NeighbourUnavailable):
        await verifier.verify(issuer.token(7))

    keys.responds.clear()
    for _ in range(5):
        with pytest.raises(NeighbourUnavailable):
            await verifier.verify(issuer.token(7))
    assert keys.fetches == 1
    clock.now += 2
    for _ in range(5):
        with pytest.raises(NeighbourUnavailable):
            await verifier.verify(issuer.token(7))
    await keys.until_fetched(2)
    keys.is_unavailable = False
    keys.responds.set()

    async def is_verified() -> bool:
        try:
            return (await verifier.verify(issuer.token(7))).user_id == 7
        except NeighbourUnavailable:
            return False

    await eventually(is_verified)
    assert keys.fetches == 2


async def test_keys_are_refreshed_in_the_background_before_they_are_too_old(clock: Clock) -> None:
    issuer = TokenIssuer()
    keys = Keys(issuer)
    verifier = TokenVerifier(keys, clock)
    await verifier.verify(issuer.token(7))

    keys.responds.clear()
    clock.now += 200

    assert [(await verifier.verify(issuer.token(7))).user_id for _ in range(3)] == [7, 7, 7]
    await keys.until_fetched(2)


async def test_a_key_that_is_no_longer_published_is_refused_once_the_keys_are_too_old(clock: Clock) -> None:
    old, new = TokenIssuer("old"), TokenIssuer("new")
    keys = Keys(old)
    verifier = TokenVerifier(keys, clock)
    await verifier.verify(old.token(7))

    keys.issuers.append(new)
    clock.now += 301

    with pytest.raises(ProblemError) as refusal:
        await verifier.verify(old.token(7))
    assert refusal.value.problem.code == "unauthenticated"


async def test_known_keys_verify_at_once_while_the_user_service_does_not_respond(clock: Clock) -> None:
    issuer = TokenIssuer()
    keys = Keys(issuer)
    verifier = TokenVerifier(keys, clock)
    await verifier.verify(issuer.token(7))
    keys.is_unavailable = True
    clock.now += 301
    assert (await verifier.verify(issuer.token(7))).user_id == 7

    keys.responds.clear()
    clock.now += 3600

    assert [(await verifier.verify(issuer.token(7))).user_id for _ in range(3)] == [7, 7, 7]


async def test_an_unknown_key_is_not_invalid_while_the_keys_cannot_be_fetched(clock: Clock) -> None:
    old, new = TokenIssuer("old"), TokenIssuer("new")
    keys = Keys(old)
    verifier = TokenVerifier(keys, clock)
    await verifier.verify(old.token(7))
    keys.is_unavailable = True
    clock.now += 6

    with pytest.raises(NeighbourUnavailable):
        await verifier.verify(new.token(7))
