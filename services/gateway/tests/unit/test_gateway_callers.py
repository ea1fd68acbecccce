import pytest
from gateway_service.domain.callers import TrustedProxies, household

FORWARDED = [
    (b"host", b"gateway"),
    (b"x-forwarded-for", b"203.0.113.7"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"shop.example.com"),
]


def test_who_is_not_trusted_speaks_for_nobody_else() -> None:
    caller = TrustedProxies("").caller("198.51.100.1", "http", FORWARDED)
    assert (caller.address, caller.scheme, caller.host, caller.way) == (
        "198.51.100.1",
        "http",
        "gateway",
        "198.51.100.1",
    )


def test_a_trusted_proxy_says_who_called_it() -> None:
    caller = TrustedProxies("10.0.0.0/8, fd00::/8").caller("10.1.2.3", "http", FORWARDED)
    assert (caller.address, caller.scheme, caller.host, caller.way) == (
        "203.0.113.7",
        "https",
        "shop.example.com",
        "203.0.113.7, 10.1.2.3",
    )


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        (b"1.1.1.1, 203.0.113.7, 10.0.0.5", "203.0.113.7"),  # 1.1.1.1 is what the caller said of themself
        (b"203.0.113.7,10.0.0.5,10.0.0.6", "203.0.113.7"),
        (b"10.0.0.4, 10.0.0.5", "10.0.0.4"),
        (b"nonsense, 10.0.0.5", "10.0.0.5"),
        (b"203.0.113.7, nonsense", "10.1.2.3"),
        (b"", "10.1.2.3"),
        (b"2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_caller_is_the_nearest_that_is_no_proxy_of_ours(chain: bytes, address: str) -> None:
    trusted = TrustedProxies("10.0.0.0/8")
    assert trusted.caller("10.1.2.3", "http", [(b"x-forwarded-for", chain)]).address == address


def test_several_headers_are_one_chain() -> None:
    headers = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"203.0.113.7")]
    assert TrustedProxies("10.0.0.0/8").caller("10.1.2.3", "http", headers).address == "203.0.113.7"


def test_the_nearest_proxy_knows_the_scheme() -> None:
    headers = [(b"x-forwarded-proto", b"https, http")]
    assert TrustedProxies("10.0.0.0/8").caller("10.1.2.3", "https", headers).scheme == "http"
    headers = [(b"x-forwarded-proto", b"gopher")]
    assert TrustedProxies("10.0.0.0/8").caller("10.1.2.3", "http", headers).scheme == "http"


def test_ipv4_in_the_dress_of_ipv6_is_ipv4() -> None:
    assert TrustedProxies("10.0.0.0/8").caller("::ffff:10.0.0.1", "http", FORWARDED).address == "203.0.113.7"
    assert household("::ffff:203.0.113.7") == household("203.0.113.7") == "203.0.113.7"


def test_a_subscribers_ipv6_addresses_count_as_one() -> None:
    assert household("2001:db8:1:2:aaaa::1") == household("2001:db8:1:2:bbbb::2") == "2001:db8:1:2::/64"
    assert household("2001:db8:1:3::1") != household("2001:db8:1:2::1")


def test_what_is_no_address_is_one_caller() -> None:
    assert household("") == household("testclient") == "unknown"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0.0/8;fd00::/8"])
def test_malformed_networks_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|network|host bits"):
        TrustedProxies(text)
