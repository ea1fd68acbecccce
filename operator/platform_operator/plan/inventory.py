"""Desired objects, and the inventory of those that were applied. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from platform_operator.api.kinds import Manifest, ObjectId
from platform_operator.digests import digest


@dataclass(frozen=True, slots=True)
class DesiredObject:
    """One object that the spec asks for. Waves are applied in the order of their numbers."""

    id: ObjectId
    wave: int
    digest: str
    json: str = field(default="", repr=False)
    """The manifest: a tenth of the dictionary's size. Empty in a plan that is made from the inventory alone."""

    @property
    def manifest(self) -> Manifest:
        manifest: Manifest = json.loads(self.json)
        return manifest


@dataclass(frozen=True, slots=True)
class AppliedObject:
    """The content that was applied under a name, and the digest of the fields that the operator owned afterwards."""

    wave: int
    digest: str
    """Empty while it is not known whether the newest content was applied."""
    owned_digest: str


@dataclass(frozen=True)
class Inventory:
    """The objects that the operator applied.

    It is stored in the cluster, so that after a restart nothing is rendered or applied again.
    """

    content_digest: str = ""
    """Stands for everything that the objects were rendered from. Empty until all of them are applied."""
    objects: Mapping[ObjectId, AppliedObject] = field(default_factory=dict)
    release: str = ""
    """The name of the newest release, which is stored beside the inventory. Empty if it is not known."""

    def desired(self) -> tuple[DesiredObject, ...]:
        """Returns the objects as they were applied, without their manifests."""
        return tuple(DesiredObject(identity, one.wave, one.digest) for identity, one in self.objects.items())

    def with_applied(self, desired: DesiredObject, owned_digest: str) -> Inventory:
        applied = AppliedObject(desired.wave, desired.digest, owned_digest)
        return replace(self, objects={**self.objects, desired.id: applied})

    def with_announced(self, identities: Collection[ObjectId]) -> Inventory:
        """Returns the inventory for the time in which these objects are sent: their content may be the old or the new.

        An operator that stops then finds that they have to be applied, whichever of the two is required by then.
        """
        announced = {one: replace(self.objects[one], digest="") for one in identities if one in self.objects}
        return replace(self, objects={**self.objects, **announced})

    def with_owned(self, digests: Mapping[ObjectId, str]) -> Inventory:
        """Returns the inventory with other digests of owned fields, for those of the objects that it has."""
        changed = {one: replace(self.objects[one], owned_digest=d) for one, d in digests.items() if one in self.objects}
        return replace(self, objects={**self.objects, **changed}) if changed else self

    def for_content(
        self, content_digest: str, desired: Iterable[DesiredObject], held: Collection[ObjectId] = ()
    ) -> Inventory:
        """Returns the inventory without what is no longer desired, except for objects whose deletion is held.

        It has the digest only if all that is desired is applied and nothing is held: the next pass renders again.
        """
        digests = {one.id: one.digest for one in desired}
        objects = {identity: one for identity, one in self.objects.items() if identity in digests or identity in held}
        complete = all(identity in objects and objects[identity].digest == digests[identity] for identity in digests)
        return replace(self, content_digest=content_digest if complete and not held else "", objects=objects)

    def dump(self) -> dict[str, str]:
        rows = [[*identity, one.wave, one.digest, one.owned_digest] for identity, one in sorted(self.objects.items())]
        text = json.dumps(rows)
        checksum = digest([self.content_digest, text])  # without the release, which earlier operators do not know
        release = {"release": self.release} if self.release else {}
        return {"content": self.content_digest, "objects": text, "checksum": checksum, **release}

    @classmethod
    def load(cls, data: Mapping[str, str]) -> Inventory:
        """Returns an empty inventory if the data was changed: then everything is applied again, without effect."""
        try:
            if data["checksum"] != digest([data["content"], data["objects"]]):
                return cls()
            rows = json.loads(data["objects"])
            objects = {ObjectId(kind, name): AppliedObject(*row) for kind, name, *row in rows}
            return cls(data["content"], objects, data.get("release", ""))
        except (KeyError, TypeError, ValueError):
            return cls()
