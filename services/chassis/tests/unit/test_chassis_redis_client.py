"""The Redis client that services share."""

from chassis.database import redis_client


def test_replies_are_parsed_in_c() -> None:
    connection = redis_client.connect("redis://localhost", 1).connection_pool.make_connection()

    assert type(connection._parser).__name__ == "_AsyncHiredisParser"
