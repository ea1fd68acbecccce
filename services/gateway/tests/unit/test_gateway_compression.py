import pytest
from gateway_service.domain.compression import accepts_gzip, gzip_headers, is_compressible, with_vary

JSON = (b"content-type", b"application/json; charset=utf-8")
LONG = (b"content-length", b"1024")


def test_json_of_a_minimum_size_is_compressible() -> None:
    assert is_compressible(200, [JSON, LONG])
    assert is_compressible(404, [(b"content-type", b"application/problem+json"), LONG])


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, [JSON, (b"content-length", b"1023")]),
        (200, [JSON]),
        (200, [LONG]),
        (200, [(b"content-type", b"image/png"), LONG]),
        (200, [JSON, LONG, (b"content-encoding", b"br")]),
        (200, [JSON, LONG, (b"cache-control", b"public, no-transform")]),
        (200, [JSON, (b"content-length", b"many")]),
        (206, [JSON, LONG]),
        (304, [JSON, LONG]),
    ],
)
def test_small_encoded_partial_and_other_responses_are_not_compressible(
    status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    assert not is_compressible(status, headers)


@pytest.mark.parametrize(
    ("accepted", "is_accepted"),
    [
        (b"gzip", True),
        (b"GZIP", True),
        (b"deflate, gzip;q=0.5, br", True),
        (b"*", True),
        (b"x-gzip", True),
        (b"gzip; q=1.0, identity; q=0.5", True),
        (b"", False),
        (b"br", False),
        (b"identity", False),
        (b"gzip;q=0", False),
        (b"gzip;q=0, *", False),
        (b"*;q=0", False),
        (b"gzip;q=0.1, identity;q=0.9", False),
        (b"gzip;q=much", False),
    ],
)
def test_gzip_is_used_only_if_the_caller_accepts_it(accepted: bytes, is_accepted: bool) -> None:
    assert accepts_gzip(accepted) is is_accepted


def test_a_compressed_response_has_a_weak_etag_and_no_length() -> None:
    headers = [JSON, LONG, (b"etag", b'"a"'), (b"vary", b"Origin")]
    assert gzip_headers(with_vary(headers)) == [
        JSON,
        (b"etag", b'W/"a"'),
        (b"vary", b"Origin, Accept-Encoding"),
        (b"content-encoding", b"gzip"),
    ]
    assert gzip_headers([(b"etag", b'W/"a"')])[0] == (b"etag", b'W/"a"')
