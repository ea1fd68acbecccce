import pytest
from gateway_service.domain.limits import DEFAULTS, Policy, Quota, Verdict, parse


def test_the_defaults_hold_where_nothing_is_said() -> None:
    assert parse("") == DEFAULTS
    assert set(DEFAULTS) == set(Policy)


def test_single_limits_are_changed_or_lifted() -> None:
    assert parse(" auth=5/3600 , read=off ") == {
        Policy.AUTH: Quota(5, 3600),
        Policy.WRITE: DEFAULTS[Policy.WRITE],
        Policy.WEBHOOK: DEFAULTS[Policy.WEBHOOK],
    }


def test_all_limits_are_lifted_at_once() -> None:
    assert parse("off") == {}


@pytest.mark.parametrize(
    "text", ["on", "auth", "auth=", "auth=0/60", "auth=5/0", "auth=-1/60", "auth=5", "login=5/60", "auth=5/60=1"]
)
def test_malformed_limits_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="as in auth=30/60"):
        parse(text)


@pytest.mark.parametrize("requests", [1, 3, 7, 30, 999_983])
def test_a_whole_quota_fits_its_window(requests: int) -> None:
    quota = Quota(requests, 60)
    assert quota.interval * requests <= quota.window < quota.interval * (requests + 1) + requests


def test_what_is_left_is_said() -> None:
    verdict = Verdict(Policy.AUTH, Quota(30, 60), passes=True, debt=2_000_000)
    assert verdict.headers() == [(b"ratelimit-policy", b'"auth";q=30;w=60'), (b"ratelimit", b'"auth";r=29;t=2')]


def test_who_is_refused_is_told_when_to_come_again() -> None:
    verdict = Verdict(Policy.AUTH, Quota(30, 60), passes=False, debt=58_500_001)
    assert verdict.remaining == 0
    assert verdict.wait == pytest.approx(0.500001)
    assert verdict.headers()[1] == (b"ratelimit", b'"auth";r=0;t=1')
