import pytest
from gateway_service.domain.rate_limits import DEFAULT_QUOTAS, Quota, RateLimitDecision, RateLimitPolicy, parse_quotas


def test_without_a_setting_the_quotas_are_the_defaults() -> None:
    assert parse_quotas("") == DEFAULT_QUOTAS
    assert set(DEFAULT_QUOTAS) == set(RateLimitPolicy)


def test_single_quotas_are_changed_or_removed() -> None:
    assert parse_quotas(" auth=5/3600 , read=off ") == {
        RateLimitPolicy.AUTH: Quota(5, 3600),
        RateLimitPolicy.WRITE: DEFAULT_QUOTAS[RateLimitPolicy.WRITE],
        RateLimitPolicy.WEBHOOK: DEFAULT_QUOTAS[RateLimitPolicy.WEBHOOK],
    }


def test_off_removes_all_quotas() -> None:
    assert parse_quotas("off") == {}


@pytest.mark.parametrize(
    "text", ["on", "auth", "auth=", "auth=0/60", "auth=5/0", "auth=-1/60", "auth=5", "login=5/60", "auth=5/60=1"]
)
def test_malformed_quotas_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="as in auth=30/60"):
        parse_quotas(text)


@pytest.mark.parametrize("requests", [1, 3, 7, 30, 999_983])
def test_a_whole_quota_fits_its_window(requests: int) -> None:
    quota = Quota(requests, 60)
    assert quota.interval * requests <= quota.window < quota.interval * (requests + 1) + requests


def test_the_headers_of_an_allowed_request_state_what_remains() -> None:
    decision = RateLimitDecision(RateLimitPolicy.AUTH, Quota(30, 60), is_allowed=True, debt=2_000_000)
    assert decision.headers() == [(b"ratelimit-policy", b'"auth";q=30;w=60'), (b"ratelimit", b'"auth";r=29;t=2')]


def test_the_headers_of_a_refused_request_state_when_to_retry() -> None:
    decision = RateLimitDecision(RateLimitPolicy.AUTH, Quota(30, 60), is_allowed=False, debt=58_500_001)
    assert decision.remaining == 0
    assert decision.retry_after == pytest.approx(0.500001)
    assert decision.headers()[1] == (b"ratelimit", b'"auth";r=0;t=1')
