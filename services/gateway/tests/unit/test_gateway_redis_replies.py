"""Commands to Redis and its replies, in the form that they have on the connection."""

import pytest
from gateway_service.clients.redis_replies import Refusal, encode, parse

REPLIES = [
    (b"+OK\r\n", b"OK"),
    (b":-12\r\n", -12),
    (b"$2\r\n\r\n\r\n", b"\r\n"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*3\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n+b\r\n", [b"a", [1, None], b"b"]),
]


def test_a_command_is_an_array_of_strings_with_their_lengths_in_octets() -> None:
    assert (
        encode(("SET", b"k\r\n", "\u00e9", 12)) == b"*4\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$2\r\n\xc3\xa9\r\n$2\r\n12\r\n"
    )


@pytest.mark.parametrize(("octets", "reply"), REPLIES)
def test_a_reply_is_parsed_where_it_begins_once_it_is_complete(octets: bytes, reply: object) -> None:
    assert parse(b"..." + octets + b":1\r\n", 3) == (reply, 3 + len(octets))
    assert all(parse(octets[:length], 0) is None for length in range(len(octets)))


def test_an_error_is_a_refusal_with_its_message() -> None:
    assert parse(b"-ERR no\r\n", 0) == ("ERR no", 9)
    parsed = parse(b"-ERR no\r\n", 0)
    assert parsed is not None
    assert isinstance(parsed[0], Refusal)


@pytest.mark.parametrize("octets", [b"HTTP/1.1 400\r\n", b":x\r\n", b"$x\r\n"])
def test_octets_that_are_no_reply_are_refused(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(octets, 0)
