"""An idempotency key stands for one resource and one request."""

from uuid import UUID

import pytest
from chassis.database.idempotency import Claim, fingerprint
from chassis.errors import IdempotencyKeyReused


def test_a_repeated_key_resolves_to_the_first_resource_unless_the_request_differs() -> None:
    first, second, other = (Claim(UUID(int=n), body) for n, body in ((1, "a"), (2, "a"), (3, "b")))

    assert second.resolve(first) == first.resource_id
    with pytest.raises(IdempotencyKeyReused):
        other.resolve(first)


def test_the_fingerprint_ignores_the_order_of_fields_but_no_value() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
