"""The Redis client that services share."""

import pytest
from chassis.database import redis_client
from redis.utils import HIREDIS_AVAILABLE


def test_replies_are_parsed_in_c() -> None:
    assert HIREDIS_AVAILABLE, "hiredis is missing, or too old for this redis-py"


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_connections_do_not_ask_for_notices_of_maintenance(scheme: str) -> None:
    pool = redis_client.connect(f"{scheme}://localhost", 1).connection_pool

    assert not pool.maint_notifications_enabled()  # type: ignore[no-untyped-call]  # of redis-py
    assert pool.make_connection().maint_notifications_config is None  # type: ignore[no-untyped-call]  # of redis-py
