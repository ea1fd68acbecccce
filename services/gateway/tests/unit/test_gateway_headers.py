import pytest
from gateway_service.domain.client_address import ClientAddress
from gateway_service.domain.headers import has_body, request_headers, response_headers

CLIENT = ClientAddress("10.0.0.9", "http", "shop.example.com", "10.0.0.9")


def test_headers_of_the_connection_are_removed_from_requests() -> None:
    received = [
        (b"host", b"shop.example.com"),
        (b"connection", b"keep-alive, X-Private"),
        (b"keep-alive", b"timeout=5"),
        (b"x-private", b"1"),
        (b"te", b"trailers"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"expect", b"100-continue"),
        (b"proxy-authorization", b"secret"),
        (b"accept", b"*/*"),
        (b"authorization", b"Bearer x"),
    ]
    sent = dict(request_headers(received, CLIENT, {}))
    assert sent == {
        "accept": "*/*",
        "authorization": "Bearer x",
        "x-forwarded-for": "10.0.0.9",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "shop.example.com",
        "x-real-ip": "10.0.0.9",
    }


def test_upstreams_receive_the_verified_forwarded_headers() -> None:
    client = ClientAddress("1.2.3.4", "https", "shop", "1.2.3.4, 10.0.0.9")
    received = [
        (b"x-forwarded-for", b"9.9.9.9"),
        (b"x-forwarded-proto", b"gopher"),
        (b"x-forwarded-host", b"evil"),
        (b"x-real-ip", b"9.9.9.9"),
    ]
    sent = dict(request_headers(received, client, {}))
    assert sent == {
        "x-forwarded-for": "1.2.3.4, 10.0.0.9",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "shop",
        "x-real-ip": "1.2.3.4",
    }


@pytest.mark.parametrize(
    "name",
    [
        b"forwarded",
        b"x-client-ip",
        b"x-user-id",
        b"x-user-role",
        b"x-user",
        b"x-role",
        b"x-auth-request-user",
        b"x-authenticated-userid",
        b"x-forwarded-user",
        b"x-forwarded-port",
        b"x-http-method-override",
        b"x-original-url",
        b"x-rewrite-url",
        b"remote-user",
    ],
)
def test_headers_that_state_an_identity_are_removed(name: bytes) -> None:
    assert name.decode() not in dict(request_headers([(name, b"admin")], CLIENT, {}))


def test_headers_that_services_read_are_forwarded() -> None:
    received = [
        (b"idempotency-key", b"k"),
        (b"cart-token", b"c"),
        (b"stripe-signature", b"s"),
        (b"authorization", b"B"),
    ]
    assert list(dict(request_headers(received, CLIENT, {})).items())[:4] == [
        ("idempotency-key", "k"),
        ("cart-token", "c"),
        ("stripe-signature", "s"),
        ("authorization", "B"),
    ]


def test_the_callers_trace_and_request_id_are_replaced() -> None:
    received = [(b"traceparent", b"theirs"), (b"x-request-id", b"theirs")]
    sent = dict(request_headers(received, CLIENT, {"traceparent": "ours", "x-request-id": "ours"}))
    assert (sent["traceparent"], sent["x-request-id"]) == ("ours", "ours")


def test_a_repeated_header_is_forwarded_repeatedly() -> None:
    received = [(b"accept", b"a"), (b"accept", b"b")]
    assert [value for name, value in request_headers(received, CLIENT, {}) if name == "accept"] == ["a", "b"]


def test_header_values_that_are_not_ascii_are_decoded() -> None:
    sent = dict(request_headers([(b"x-name", "Zoë".encode()), (b"x-old", b"Zo\xeb")], CLIENT, {}))
    assert (sent["x-name"], sent["x-old"]) == ("Zoë", "Zoë")


def test_headers_of_the_connection_are_removed_from_responses() -> None:
    received = [
        (b"Content-Type", b"text/plain"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Connection", b"close, X-Private"),
        (b"X-Private", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Date", b"now"),
        (b"Server", b"u"),
        (b"X-Request-Id", b"1"),
    ]
    assert response_headers(received, "http://shop-user:8081") == [
        (b"content-type", b"text/plain"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]


def test_redirects_do_not_contain_an_upstreams_address() -> None:
    def location(value: bytes) -> bytes:
        return dict(response_headers([(b"location", value)], "http://shop-user:8081"))[b"location"]

    assert location(b"http://shop-user:8081/api/v1/users") == b"/api/v1/users"
    assert location(b"https://elsewhere.example.com/") == b"https://elsewhere.example.com/"
    assert location(b"http://shop-user:80810/x") == b"http://shop-user:80810/x"


def test_a_request_has_a_body_if_its_headers_say_so() -> None:
    assert has_body([(b"content-length", b"1")])
    assert has_body([(b"transfer-encoding", b"chunked")])
    assert not has_body([(b"content-length", b"0")])
    assert not has_body([(b"accept", b"*/*")])
