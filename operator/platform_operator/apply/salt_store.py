"""Stores the salt of a platform's credentials in a ConfigMap. It has no owner: it lives as long as the Secrets.

It is written before the first Secret that is derived with it, so an operator that is killed in between finds it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from platform_operator.api.kinds import (
    CHILD_KINDS,
    CHILD_LABELS,
    LABEL_MANAGED_BY,
    LABEL_PART_OF,
    SALT_COMPONENT,
    Manifest,
    PlatformKey,
)
from platform_operator.apply.ownership import holder, is_ours
from platform_operator.apply.volumes import list_volumes
from platform_operator.cache.observed import Children, ObservedObject, Platform, observe, platform_of
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.errors import MasterKeyChangedError
from platform_operator.plan.readiness import NameConflict
from platform_operator.secrets.credential_records import keeps_labels, record_labels, record_manifest
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.salt import (
    SaltRecord,
    choose_salt,
    is_current_record,
    read_record,
    reported_key_id,
    reported_salt,
    salt_id,
    salts_of_secrets,
)

logger = logging.getLogger(__name__)


async def recorded_or_new_salt(
    client: KubernetesClient, cache: Cache, platform: Platform, new_salt: Callable[[], str], keys: KeyRing
) -> str | NameConflict:
    """Returns the salt of a platform, and records it at first sight of the platform.

    Raises ApiError, or MasterKeyChangedError if nothing says which of two master keys it was used with.

    Returns the object of another that has the name of the record, if there is one. A platform whose record is not its
    own is looked at in the API server: the cache may still have what was deleted with an earlier one of its name.
    """
    key, observed = platform.key, cache.children(platform.key)
    record = read_record(key, observed)
    is_current = is_current_record(record, salts_of_secrets(observed.values()), platform.uid)
    if record is not None and is_current and keeps_labels(key, SALT_COMPONENT, observed):
        return record.salt
    stored = await client.get(CHILD_KINDS["ConfigMap"], key.namespace, salt_id(key).name)
    if stored is not None and not (_is_labelled(stored, key) or is_ours(stored, key)):
        return NameConflict(salt_id(key), holder(stored))
    record = read_record(key, {salt_id(key): observe(stored)}) if stored is not None else None
    secrets, new = await _secrets(client, key), new_salt()
    salts = salts_of_secrets(secrets)
    volumes = [] if salts else await list_volumes(client, key)
    has_volumes = any("deletionTimestamp" not in volume["metadata"] for volume in volumes)
    salt = choose_salt(record, salts, platform.uid, reported=reported_salt(platform), has_volumes=has_volumes, new=new)
    known = {*salts, reported_salt(platform), *([record.salt] if record else [])}
    left = {**observed, **{one.id: one for one in (*secrets, *([observe(stored)] if stored is not None else []))}}
    base = _base(platform, keys, left, has_record=record is not None) if salt in known else keys.current
    manifest = record_manifest(key, SALT_COMPONENT, SaltRecord(salt, platform.uid).dump(), base.with_salt(salt).id)
    if stored is not None:
        manifest["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
    cache.store(key, observe(await client.apply(CHILD_KINDS["ConfigMap"], key.namespace, manifest)))
    logger.info("recorded the salt of the credentials", extra={"platform": str(key)})
    return salt


async def write_base(client: KubernetesClient, cache: Cache, key: PlatformKey, keys: KeyRing) -> None:
    """Records that nothing of a platform derives from another master key than the current one. Raises ApiError."""
    observed = cache.children(key)
    record = read_record(key, observed)
    if record is None:
        return  # the next pass writes one
    manifest = record_manifest(key, SALT_COMPONENT, record.dump(), keys.current.id)
    manifest["metadata"]["resourceVersion"] = str(observed[salt_id(key)].version)
    cache.store(key, observe(await client.apply(CHILD_KINDS["ConfigMap"], key.namespace, manifest)))
    logger.info("all credentials derive from the master key %s", keys.current.id, extra={"platform": str(key)})


def _base(platform: Platform, keys: KeyRing, left: Children, *, has_record: bool) -> MasterKey:
    """Returns the master key that a platform derives from, given the objects that are `left` of it.

    The status is asked when all of them are lost, as it is for the salt. A record without an id is one whose key was
    lost for good. Raises MasterKeyChangedError.
    """
    found, reported = keys.for_shop(platform.key, left), reported_key_id(platform)
    if found.base_id or has_record:
        return found.base
    if keys.previous is not None and not reported:
        namespace, name = platform.key.namespace, platform.key.name
        raise MasterKeyChangedError(
            f"The Secrets and records of this shop are lost, and its status does not say which master key they derive "
            f"from, {keys.current.id} or {keys.previous.id}. Nothing of this shop is changed. Restore them from their "
            f"backup, or write the id of the key: kubectl -n {namespace} patch ecp {name} --subresource=status "
            '--type=merge -p \'{"status":{"masterKeyId":"<id>"}}\''
        )
    return keys.find(reported)


def _is_labelled(stored: Manifest, key: PlatformKey) -> bool:
    """Returns whether an object has the labels of the record: one that was restored from a backup was not applied by
    the operator."""
    labels: Mapping[str, str] = stored["metadata"].get("labels") or {}
    return record_labels(key, SALT_COMPONENT).items() <= labels.items()


async def _secrets(client: KubernetesClient, key: PlatformKey) -> list[ObservedObject]:
    selector = ",".join(f"{name}={CHILD_LABELS[name]}" for name in (LABEL_PART_OF, LABEL_MANAGED_BY))
    listed, _ = await client.list(CHILD_KINDS["Secret"], key.namespace, selector)
    return [observe(one) for one in listed if platform_of(one) == key]
