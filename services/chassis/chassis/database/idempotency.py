"""Idempotency keys (draft-ietf-httpapi-idempotency-key-header).

A key of a caller stands for one resource, however many requests with it are sent, even at the same time. The resource
gets its id from the claim of the key, so that each later step can be idempotent by that id.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from sqlalchemy import MetaData, bindparam
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import tables
from chassis.database.pruning import delete_oldest
from chassis.database.statements import Record, Statement
from chassis.errors import IdempotencyKeyReused
from chassis.types.ids import UserId

Key = NewType("Key", str)

_keys = tables.idempotency_keys(MetaData())


@dataclass(frozen=True, slots=True)
class Claim:
    """The resource that a key stands for: its id, and the fingerprint of the request that created it."""

    resource_id: UUID
    fingerprint: str

    def resolve(self, held: "Claim") -> UUID:
        """Returns the id of the resource to use, where `held` is the first claim of the key.

        Raises IdempotencyKeyReused.
        """
        if held.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused(
                "this Idempotency-Key was sent with a different request before: send a new key, or the first body again"
            )
        return held.resource_id


def _claim(row: Record) -> Claim:
    return Claim(row["resource_id"], row["fingerprint"])


_CLAIM = Statement(
    insert(_keys)
    .values({column: bindparam(column.key) for column in _keys.c})
    .on_conflict_do_update(index_elements=[_keys.c.owner_id, _keys.c.key], set_={"key": bindparam("key")})
    .returning(_keys.c.resource_id, _keys.c.fingerprint),
    _claim,
)


def fingerprint(request: object) -> str:
    """Returns a hash of a request's meaning, given as JSON values.

    Requests with the same meaning have the same hash.
    """
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


class KeyRepository:
    """The idempotency keys of a service, within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def claim(self, owner_id: UserId, key: Key, claim: Claim, at: datetime) -> Claim:
        """Stores a claim unless the key has one already. Returns the first claim of the key, with its row locked.

        The update changes nothing. It makes PostgreSQL return an existing row, even one that was inserted concurrently.
        """
        return await _CLAIM.one(
            self._transaction,
            owner_id=owner_id,
            key=key,
            fingerprint=claim.fingerprint,
            resource_id=claim.resource_id,
            created_at=at,
        )

    async def prune(self, before: datetime, limit: int) -> int:
        """Deletes the `limit` oldest of the keys that were created before a time, along idempotency_keys_by_age.

        Returns how many it deleted.
        """
        return (await self._transaction.execute(delete_oldest(_keys.c.created_at, before, limit))).rowcount
