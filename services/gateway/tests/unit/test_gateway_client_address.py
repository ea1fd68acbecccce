import pytest
from gateway_service.domain.client_address import TrustedProxies

FORWARDED = [
    (b"host", b"gateway"),
    (b"x-forwarded-for", b"203.0.113.7"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"shop.example.com"),
]


def test_headers_of_an_untrusted_peer_are_ignored() -> None:
    client = TrustedProxies("").client_address("198.51.100.1", "http", FORWARDED)
    assert (client.address, client.scheme, client.host, client.forwarded_for) == (
        "198.51.100.1",
        "http",
        "gateway",
        "198.51.100.1",
    )
    assert client.ignores_headers


def test_no_header_is_ignored_where_there_is_none_or_the_peer_is_trusted() -> None:
    assert not TrustedProxies("").client_address("198.51.100.1", "http", [(b"host", b"gateway")]).ignores_headers
    assert not TrustedProxies("10.0.0.0/8").client_address("10.1.2.3", "http", FORWARDED).ignores_headers


def test_headers_of_a_trusted_proxy_are_believed() -> None:
    client = TrustedProxies("10.0.0.0/8, fd00::/8").client_address("10.1.2.3", "http", FORWARDED)
    assert (client.address, client.scheme, client.host, client.forwarded_for) == (
        "203.0.113.7",
        "https",
        "shop.example.com",
        "203.0.113.7, 10.1.2.3",
    )


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        (b"1.1.1.1, 203.0.113.7, 10.0.0.5", "203.0.113.7"),  # the caller itself stated 1.1.1.1
        (b"203.0.113.7,10.0.0.5,10.0.0.6", "203.0.113.7"),
        (b"10.0.0.4, 10.0.0.5", "10.0.0.4"),
        (b"nonsense, 10.0.0.5", "10.0.0.5"),
        (b"203.0.113.7, nonsense", "10.1.2.3"),
        (b"", "10.1.2.3"),
        (b"2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_client_is_the_nearest_address_that_is_not_a_trusted_proxy(chain: bytes, address: str) -> None:
    trusted = TrustedProxies("10.0.0.0/8")
    assert trusted.client_address("10.1.2.3", "http", [(b"x-forwarded-for", chain)]).address == address


def test_repeated_headers_form_one_chain() -> None:
    headers = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"203.0.113.7")]
    assert TrustedProxies("10.0.0.0/8").client_address("10.1.2.3", "http", headers).address == "203.0.113.7"


def test_the_scheme_is_that_of_the_nearest_proxy() -> None:
    headers = [(b"x-forwarded-proto", b"https, http")]
    assert TrustedProxies("10.0.0.0/8").client_address("10.1.2.3", "https", headers).scheme == "http"
    headers = [(b"x-forwarded-proto", b"gopher")]
    assert TrustedProxies("10.0.0.0/8").client_address("10.1.2.3", "http", headers).scheme == "http"


def test_an_ipv4_mapped_address_is_an_ipv4_address() -> None:
    assert TrustedProxies("10.0.0.0/8").client_address("::ffff:10.0.0.1", "http", FORWARDED).address == "203.0.113.7"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0.0/8;fd00::/8"])
def test_malformed_networks_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|network|host bits"):
        TrustedProxies(text)
