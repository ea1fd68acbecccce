"""What an idempotency key stands for."""

from uuid import UUID

import pytest
from chassis.database.idempotency import Claim, fingerprint
from chassis.errors import IdempotencyKeyReused


def test_a_key_goes_on_with_the_first_resource_and_refuses_another_request() -> None:
    first, second, other = (Claim(UUID(int=n), body) for n, body in ((1, "a"), (2, "a"), (3, "b")))

    assert second.resolve(first) == first.resource_id
    with pytest.raises(IdempotencyKeyReused):
        other.resolve(first)


def test_the_fingerprint_knows_what_is_meant_not_how_it_is_written() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
