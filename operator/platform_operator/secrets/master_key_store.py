"""Stores the master key in the operator's namespace: it is created once, and never while shops derive from another."""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from platform_operator import metrics
from platform_operator.api.kinds import (
    ANNOTATION_KEY_ID,
    CHILD_KINDS,
    LABEL_INSTANCE,
    LABEL_NAME,
    LABEL_PLATFORM,
    Manifest,
    ObjectId,
    PlatformKey,
)
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError, MasterKeyChangedError, MasterKeyMissingError
from platform_operator.secrets.key_ids import key_ids
from platform_operator.secrets.master_key import KeyRing, MasterKey

MASTER_KEY_NAME = "ecommerce-operator-master-key"
KEY_BYTES = 32
READ_INTERVAL = timedelta(minutes=5)
"""How long a key that was read is used: one that the platform team adds is noticed without a restart."""

logger = logging.getLogger(__name__)


@dataclass
class MasterKeyStore:
    """The Secret with the master key, and the key before it while shops move to the newer one."""

    client: KubernetesClient
    namespace: str
    cache: Cache
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _known: KeyRing | None = None
    _read_at: datetime = datetime.min.replace(tzinfo=UTC)
    _generated: KeyRing = field(default_factory=lambda: KeyRing(MasterKey(secrets.token_bytes(KEY_BYTES))))
    """The key that is created if there is none."""
    _reported: tuple[MasterKey | None, int] = (None, 0)
    """The former key, and how many shops need it, as they were logged last."""

    async def keys_for(self, platform: PlatformKey, *, may_create: bool = True) -> KeyRing:
        """Returns the keys that a platform's credentials are derived from; without `may_create` perhaps one that is not
        stored yet.

        They are read again if they do not fit, so that a key that was restored is used without a restart. Raises
        MasterKeyMissingError, MasterKeyChangedError or ApiError: then nothing of the platform may be changed.
        """
        known = self._known
        if known is not None and self.now() >= self._read_at + READ_INTERVAL:
            known = await self._read_again(known)
        if known is None or self._others(platform, known):
            known = await self._read(may_create=may_create)
            self._known = known if known is not self._generated or may_create else None
        if known is None:
            raise MasterKeyMissingError(self._missing())
        others = self._others(platform, known)
        if others:
            raise MasterKeyChangedError(self._changed(platform, known, others))
        return known

    async def _read_again(self, known: KeyRing) -> KeyRing:
        """Returns the keys as they are stored now. A key that was lost is used until the operator ends."""
        self._read_at = self.now()
        stored = await self.client.get(CHILD_KINDS["Secret"], self.namespace, MASTER_KEY_NAME)
        keys = decode_keys(stored) if stored is not None else None
        if keys is None:
            logger.error("%s. The operator uses the key that it has read until it ends", self._missing())
            return known
        self._known = keys
        self._report_use(keys)
        return keys

    async def _read(self, *, may_create: bool) -> KeyRing | None:
        kind = CHILD_KINDS["Secret"]
        self._read_at = self.now()
        stored = await self.client.get(kind, self.namespace, MASTER_KEY_NAME)
        if stored is not None:
            keys = decode_keys(stored)
            if keys is not None:
                self._report_use(keys)
            return keys
        if any(key_ids(seen) for seen in self.cache.all_children()):
            return None
        if not may_create:
            return self._generated
        try:
            await self.client.create(kind, self.namespace, _manifest(self.namespace, self._generated.current))
        except ApiError as error:
            stored = await self.client.get(kind, self.namespace, MASTER_KEY_NAME) if error.conflict else None
            if stored is None:
                raise
            return decode_keys(stored)
        return self._generated

    def _report_use(self, keys: KeyRing) -> None:
        """Exports how many shops, deleted ones with retained Secrets included, need the previous key. Logs a change."""
        previous = keys.previous
        ids = previous.ids if previous else frozenset[str]()
        needed = len(self.cache.shops_with(lambda seen: not ids.isdisjoint(key_ids(seen)))) if previous else 0
        metrics.FORMER_KEY_SHOPS.set(needed)
        if previous and (previous, needed) != self._reported:
            text = f"{needed} shops of this operator need it" if needed else "no shop of this operator needs it"
            logger.info("the former master key is %s; %s", previous.id, text)
        self._reported = (previous, needed)

    def _others(self, platform: PlatformKey, known: KeyRing) -> Mapping[ObjectId, str]:
        """Returns the platform's objects that were derived from other keys, with the ids of these."""
        derived = {identity: key_ids(seen) for identity, seen in self.cache.children(platform).items()}
        unknown = {identity: [one for one in ids if one not in known.ids] for identity, ids in derived.items()}
        return {identity: ", ".join(ids) for identity, ids in unknown.items() if ids}

    def _missing(self) -> str:
        return (
            f"Secret {MASTER_KEY_NAME} in namespace {self.namespace} is missing or has no key of {KEY_BYTES} bytes, "
            "and credentials of shops were derived from it. No other key is created, and nothing is changed. Restore "
            "the Secret from its backup"
        )

    def _changed(self, platform: PlatformKey, known: KeyRing, others: Mapping[ObjectId, str]) -> str:
        names = ", ".join(str(identity) for identity in sorted(others))
        has = " and ".join(one.id for one in (known.current, known.previous) if one)
        return (
            f"Derived from the master key {', '.join(sorted(set(others.values())))}, where the operator has "
            f"{has}: {names}. Nothing of this shop is changed. Restore Secret {MASTER_KEY_NAME} in namespace "
            f"{self.namespace} from its backup. If that key is lost, keep the credentials as they are: for label in "
            f"{LABEL_PLATFORM} {LABEL_INSTANCE}; do kubectl -n {platform.namespace} annotate secret,configmap "
            f"-l $label={platform.name} {ANNOTATION_KEY_ID}-; done"
        )


def decode_keys(manifest: Manifest) -> KeyRing | None:
    """Returns the keys of the Secret; None if there is no key, or one that could be guessed."""
    data = manifest.get("data") or {}
    current = _decode_key(data.get("key"))
    previous = _decode_key(data["previous"]) if "previous" in data else current
    if current is None or previous is None:
        return None
    return KeyRing(current, previous if previous != current else None)


def _decode_key(text: str | None) -> MasterKey | None:
    try:
        secret = base64.b64decode(text or "")
    except ValueError:
        return None
    return MasterKey(secret) if len(secret) >= KEY_BYTES else None


def _manifest(namespace: str, key: MasterKey) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": MASTER_KEY_NAME, "namespace": namespace, "labels": {LABEL_NAME: "ecommerce-operator"}},
        "immutable": True,
        "data": {"key": base64.b64encode(key.secret).decode()},
    }
