"""The cache of platforms and children, as seen last by the informers or in answers to the operator's writes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from platform_operator.api.kinds import ObjectId, PlatformKey
from platform_operator.api.shards import ONLY_SHARD, Shard
from platform_operator.cache.observed import ObservedObject, Platform


@dataclass
class Cache:
    """The newest known version of every platform of the operator's class and shard, and of every child.

    An older version never replaces a newer one.
    """

    platforms: dict[PlatformKey, Platform] = field(default_factory=dict)
    operator_class: str = ""
    """`spec.operatorClassName` of the platforms that this operator reconciles. Empty: those that name none."""
    shard: Shard = ONLY_SHARD
    """The part of these platforms that this process reconciles when it leads."""
    listeners: list[Callable[[PlatformKey], None]] = field(default_factory=list)
    """Called with the key of each of `platforms` of which a newer version was stored, or that was removed."""
    _of_other_shards: dict[PlatformKey, Platform] = field(default_factory=dict)
    _of_other_classes: set[PlatformKey] = field(default_factory=set)
    _children: dict[PlatformKey, dict[ObjectId, ObservedObject]] = field(default_factory=dict)
    _tombstones: dict[tuple[PlatformKey, ObjectId | None], int] = field(default_factory=dict)
    """Versions at which objects were deleted while a list was under way, so that an older list does not bring them
    back. A deletion has a version of its own: an object that is read at that very version has only lost the label that
    the watches select by."""

    def fleet(self) -> Sequence[Platform]:
        """Returns the platforms of the operator's class, those of all shards."""
        return (*self.platforms.values(), *self._of_other_shards.values())

    def is_of_another(self, key: PlatformKey) -> bool:
        """Returns whether another operator has a platform: one of another class or shard."""
        return key in self._of_other_classes or not self.shard.has(key)

    def children(self, key: PlatformKey) -> dict[ObjectId, ObservedObject]:
        return dict(self._children.get(key, {}))

    def all_children(self) -> Iterator[ObservedObject]:
        """Yields the children of all platforms of the operator's class, those that outlived theirs included.

        Of other shards these are the Secrets alone.
        """
        for key, children in self._children.items():
            if key not in self._of_other_classes:
                yield from children.values()

    def shops_with(self, matches: Callable[[ObservedObject], bool]) -> set[PlatformKey]:
        """Returns the platforms among whose children, as `all_children` yields them, one matches."""
        known = ((key, one) for key, one in self._children.items() if key not in self._of_other_classes)
        return {key for key, children in known if any(map(matches, children.values()))}

    def store_platform(self, platform: Platform) -> bool:
        """Stores a platform unless a newer version is known. Returns whether more than its status changed.

        One of another class is as if it were deleted: it may have been of this operator's class before.
        """
        key = platform.key
        known = self.platforms.get(key) or self._of_other_shards.get(key)
        if (known and known.version >= platform.version) or self._is_deleted(key, None, platform.version):
            return False
        if (platform.spec.get("operatorClassName") or "") != self.operator_class:
            self._of_other_classes.add(key)
            self.remove_platform(key, platform.version)
            return known is not None
        self._of_other_classes.discard(key)
        if not self.shard.has(key):
            self._of_other_shards[key] = platform
            return False
        self.platforms[key] = platform
        self._notify(key)
        return known is None or not same_but_for_status(known, platform)

    def remove_platform(self, key: PlatformKey, version: int) -> None:
        self._tombstones[key, None] = version
        for platforms in (self.platforms, self._of_other_shards):
            known = platforms.get(key)
            if known is not None and known.version <= version:
                del platforms[key]
                self._notify(key)

    def _notify(self, key: PlatformKey) -> None:
        for listener in self.listeners:
            listener(key)

    def has(self, key: PlatformKey, identity: ObjectId, version: int) -> bool:
        """Returns whether a version of a child, or a newer one, is known."""
        known = self._children.get(key, {}).get(identity)
        return known is not None and known.version >= version

    def store(self, key: PlatformKey, seen: ObservedObject) -> bool:
        """Stores a child unless a newer version is known: an event may be older than the answer to the operator's own
        write.

        Returns whether anything changed that is decided on. Of other shards only the Secrets are kept: they say
        whether credentials were derived from a master key.
        """
        is_own = self.shard.has(key)
        if not is_own and seen.id.kind != "Secret":
            return False
        children = self._children.setdefault(key, {})
        known = children.get(seen.id)
        if (known and known.version >= seen.version) or self._is_deleted(key, seen.id, seen.version):
            return False
        children[seen.id] = seen
        return is_own and (known is None or replace(known, version=seen.version) != seen)

    def remove(self, key: PlatformKey, identity: ObjectId, version: int) -> bool:
        """Removes a child unless a newer version is known. Returns whether it was there."""
        self._tombstones[key, identity] = version
        children = self._children.get(key, {})
        known = children.get(identity)
        removed = known is not None and known.version <= version
        if removed:
            del children[identity]
        if not children:
            self._children.pop(key, None)
        return removed

    def _is_deleted(self, key: PlatformKey, identity: ObjectId | None, version: int) -> bool:
        return self._tombstones.get((key, identity), -1) > version

    def remove_unlisted_platforms(self, listed: Iterable[PlatformKey], version: int, namespace: str | None) -> None:
        """Removes the platforms that a list of that version and namespace (None: all) does not contain."""
        for key in {one.key for one in self.fleet() if one.version <= version} - set(listed):
            if namespace in (None, key.namespace):
                self.remove_platform(key, version)

    def remove_unlisted(
        self, kind: str, listed: Collection[tuple[PlatformKey, ObjectId]], version: int, namespace: str | None
    ) -> set[PlatformKey]:
        """Removes the children of a kind that a list of that version and namespace (None: all) does not contain.

        Returns their platforms.
        """
        unlisted = [
            (key, identity)
            for key, children in self._children.items()
            if namespace in (None, key.namespace)
            for identity, known in children.items()
            if identity.kind == kind and known.version <= version and (key, identity) not in listed
        ]
        for key, identity in unlisted:
            self.remove(key, identity, version)
        return {key for key, _ in unlisted}

    def clear_tombstones(self) -> None:
        """Forgets deletions. Called after a full round of lists, when no list older than these deletions can arrive."""
        self._tombstones.clear()


def same_but_for_status(one: Platform, other: Platform) -> bool:
    """Returns whether two versions of a platform ask for the same. The status is the operator's own writing."""
    return replace(one, version=0, status={}) == replace(other, version=0, status={})
