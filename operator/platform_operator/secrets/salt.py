"""The salt of a platform's credentials: a new platform of an old name gets others, unless data of the old one is left.

docs/adr/0004-derived-credentials.md says where it is recorded. Pure, but for `new_salt`.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from platform_operator.api.kinds import ANNOTATION_SALT, SALT_COMPONENT, ObjectId, PlatformKey
from platform_operator.cache.observed import Children, ObservedObject, Platform, StoredData, state_of
from platform_operator.secrets.key_ids import key_ids


@dataclass(frozen=True, slots=True)
class SaltRecord:
    """The salt of a platform's credentials, as the ConfigMap has it."""

    salt: str
    """Empty in a shop that is older than salts."""
    platform_uid: str
    """The platform that used it last. Another of the same name uses it only if something derived with it is left."""

    def dump(self) -> dict[str, str]:
        return {"salt": self.salt, "platform": self.platform_uid}


def new_salt() -> str:
    """Returns 128 random bits. They are no secret: what is derived with them is derived from the master key too."""
    return secrets.token_hex(16)


_SALT = re.compile(r"([0-9a-f]{32})?")


def salt_id(key: PlatformKey) -> ObjectId:
    return ObjectId("ConfigMap", f"{key.name}-{SALT_COMPONENT}")


def read_record(key: PlatformKey, observed: Children) -> SaltRecord | None:
    """Returns the record; None if there is none, or one that is malformed."""
    state = state_of(salt_id(key), observed)
    data = state.data if isinstance(state, StoredData) else {}
    if not ("platform" in data and _SALT.fullmatch(data.get("salt", "-"))):
        return None
    return SaltRecord(data["salt"], data["platform"])


def salts_of_secrets(observed: Iterable[ObservedObject]) -> Counter[str]:
    """Returns the salts of the derived Secrets among these objects, with the number of Secrets that have them."""
    return Counter(
        seen.state.annotations.get(ANNOTATION_SALT, "")
        for seen in observed
        if seen.id.kind == "Secret" and isinstance(seen.state, StoredData) and key_ids(seen)
    )


def reported_salt(platform: Platform) -> str:
    """Returns the salt that the status of a platform names; empty if it names none."""
    salt = platform.status.get("salt")
    return salt if isinstance(salt, str) and _SALT.fullmatch(salt) else ""


def reported_key_id(platform: Platform) -> str:
    """Returns the id of the master key that the status of a platform names; empty if it names none."""
    id_ = platform.status.get("masterKeyId")
    return id_ if isinstance(id_, str) else ""


def recorded_key_id(key: PlatformKey, observed: Children) -> str:
    """Returns the id of the master key on the record; empty if it names none."""
    ids = key_ids(observed[salt_id(key)]) if salt_id(key) in observed else ()
    return ids[0] if ids else ""


def read_salt(platform: Platform, observed: Children) -> str:
    """Returns the salt of what was derived, as far as it is known; empty if nothing was derived."""
    record, salts = read_record(platform.key, observed), salts_of_secrets(observed.values())
    uid = record.platform_uid if record else ""
    return choose_salt(record, salts, uid, reported=reported_salt(platform), has_volumes=False, new="")


def choose_salt(
    record: SaltRecord | None, salts: Counter[str], platform_uid: str, *, reported: str, has_volumes: bool, new: str
) -> str:
    """Returns the salt of a platform, given its record, the `salts` of its derived Secrets, the one that its status
    has `reported`, and whether it has volumes.

    Secrets show what the databases know, so a record that none of them agrees with is wrong. The status is asked when
    both are lost. Volumes without any of them are those of a shop that is older than salts.
    """
    if salts:
        return record.salt if record and record.salt in salts else salts.most_common(1)[0][0]
    if record and (has_volumes or record.platform_uid == platform_uid):
        return record.salt
    return reported or ("" if has_volumes else new)


def is_current_record(record: SaltRecord | None, salts: Collection[str], platform_uid: str) -> bool:
    """Returns whether a record is that of this platform, and its Secrets do not disagree with all of it."""
    return record is not None and record.platform_uid == platform_uid and (not salts or record.salt in salts)
