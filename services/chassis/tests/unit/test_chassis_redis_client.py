"""The Redis client that services share."""

from redis.utils import HIREDIS_AVAILABLE


def test_replies_are_parsed_in_c() -> None:
    assert HIREDIS_AVAILABLE, "hiredis is missing, or too old for this redis-py"
