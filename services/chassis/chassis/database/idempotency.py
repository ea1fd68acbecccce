"""Idempotency keys (draft-ietf-httpapi-idempotency-key-header): one key of a caller stands for one resource, however often and
however much at once a request is sent. What is made under a key gets its id from the claim, so that everything after it can be
idempotent by that id.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from sqlalchemy import MetaData, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import tables
from chassis.errors import IdempotencyKeyReused
from chassis.types.ids import UserId

Key = NewType("Key", str)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a key stands for: the resource with this id, made from the request with this fingerprint."""

    resource_id: UUID
    fingerprint: str

    def resolve(self, held: "Claim") -> UUID:
        """The id to go on with, where `held` is the claim that came first. Raises KeyReused."""
        if held.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused(
                "this Idempotency-Key came with another request before: send a new key, or the first body again"
            )
        return held.resource_id


def fingerprint(request: object) -> str:
    """Equal for requests that mean the same; `request` is what they mean, as JSON values."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


_keys = tables.idempotency_keys(MetaData())


class KeyRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def claim(self, owner_id: UserId, key: Key, claim: Claim, at: datetime) -> Claim:
        """The claim that the key stands for: this one, or the one that came first. Its row is locked.

        The update changes nothing: it makes PostgreSQL return the row that was there, whoever has put it there meanwhile.
        """
        new = insert(_keys).values(
            owner_id=owner_id, key=key, fingerprint=claim.fingerprint, resource_id=claim.resource_id, created_at=at
        )
        held = new.on_conflict_do_update(index_elements=[_keys.c.owner_id, _keys.c.key], set_={"key": key}).returning(
            _keys.c.resource_id, _keys.c.fingerprint
        )
        row = (await self._transaction.execute(held)).one()
        return Claim(row.resource_id, row.fingerprint)

    async def prune(self, before: datetime) -> None:
        """Along idempotency_keys_by_age."""
        await self._transaction.execute(delete(_keys).where(_keys.c.created_at < before))
