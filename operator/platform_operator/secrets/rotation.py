"""Rotation of derived credentials: what is valid at each step, and when the next step may come. Pure.

docs/adr/0046-credentials-rotate-in-recorded-steps.md says why no step fails a request.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from platform_operator.api.conditions import ConditionReason, RotationKind, RotationStep, stored_condition
from platform_operator.api.kinds import ANNOTATION_GENERATION, GROUP, ROTATION_COMPONENT, ObjectId, PlatformKey
from platform_operator.api.spec import SERVICES, WITH_BROKER, WITH_CACHE, WITH_DATABASE, Service, Spec
from platform_operator.cache.observed import Children, Platform, StoredData, state_of
from platform_operator.plan.hibernation import is_to_be_stopped, was_stopped
from platform_operator.secrets.credential_records import keeps_labels
from platform_operator.secrets.key_ids import join_ids, key_ids
from platform_operator.secrets.master_key import KeyRing
from platform_operator.secrets.store_tls import AUTHORITY, own_stores

ANNOTATION_ROTATE = f"{GROUP}/rotate"
"""Asks for a rotation, on the platform: `<kind>:<name>`. Each name is a request of its own."""

KEY_CACHE_TIME = timedelta(minutes=6)
"""How long services may use public keys that they have fetched (chassis.http.authentication), with a margin."""
TERMINATION_TIME = timedelta(minutes=1)
"""How long a pod may answer and call after it is no longer counted: its grace period of 40 s, and a margin."""
STORE_TIME = timedelta(minutes=5)
"""How long a store that runs may take to take over its Secret: the kubelet renews the files of a pod within two and a
half minutes, the store looks at them once a minute, and a margin."""
TOKEN_SECONDS = {"access_token_seconds": 900, "verification_token_seconds": 259_200, "reset_token_seconds": 3600}
"""The lifetimes of tokens that are made with the signing secret, as the user service has them by default."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """The state of one kind of credentials. A shop that was never rotated uses generation 0."""

    generation: int = 0
    """The generation that is used."""
    step: RotationStep = RotationStep.DONE
    since: datetime | None = None
    """When the step began; None if that is not known."""
    rolled_out: datetime | None = None
    """Since when all pods have the credentials of this step."""
    request: str = ""
    """The newest value of the annotation that was followed."""
    finished: datetime | None = None
    """When the last rotation ended."""
    key: str = ""
    """The id of the master key that the generation in use derives from; empty for the base of the shop."""
    other_key: str = ""
    """The same of the generation that is valid beside it."""
    asked: str = ""
    """The newest value of the annotation that covered this kind when it was taken, whether it was followed or not."""

    @property
    def also_accepted(self) -> int | None:
        """The generation that is valid beside the one in use, if there is one: the next or the former."""
        offsets = {RotationStep.PUBLISH: 1, RotationStep.USE: -1}
        return self.generation + offsets[self.step] if self.step in offsets else None

    @property
    def mark(self) -> str:
        """The generation and the step, as far as credentials differ by them; empty for those that never changed."""
        if self.also_accepted is not None:
            return f"{self.generation} {self.step}"
        return str(self.generation) if self.generation else ""

    @property
    def is_active(self) -> bool:
        return self.step is not RotationStep.DONE


Rotations = Mapping[RotationKind, Rotation]
"""The state of every kind."""

NO_ROTATIONS: Rotations = {kind: Rotation() for kind in RotationKind}


@dataclass(frozen=True, slots=True)
class RotationRequest:
    """The kinds that the annotation of a platform asks for, or why it asks for none."""

    name: str = ""
    """The value of the annotation."""
    kinds: frozenset[RotationKind] = frozenset()
    problem: str = ""


@dataclass(frozen=True)
class RotationReport:
    """The rotations of a platform as they stand after a pass, and what they wait for."""

    before: Rotations = field(default_factory=lambda: NO_ROTATIONS)
    rotations: Rotations = field(default_factory=lambda: NO_ROTATIONS)
    next_steps: Mapping[RotationKind, datetime] = field(default_factory=dict)
    """The times before which the next step does not come, for steps that all pods have."""
    problems: tuple[str, ...] = ()
    """Sentences that say why a rotation that is asked for does not begin or go on."""
    refused_kinds: frozenset[RotationKind] = frozenset()
    """The kinds that these sentences are about: none of their steps comes."""
    is_record_due: bool = False
    """True if the record lacks these rotations, and they may go on."""
    waits: str = ""
    """A sentence that says why credentials stay with the former master key for now."""
    awaits_turn: bool = False
    """True if they do because other platforms are being rotated."""
    moves_base: bool = False
    """True if nothing of the shop needs the master key that is recorded as its base any more."""

    @property
    def begins(self) -> bool:
        """Returns whether a rotation begins."""
        return any(self.rotations[kind].is_active and not before.is_active for kind, before in self.before.items())

    @property
    def is_held_up(self) -> bool:
        """Returns whether rotations are active, and none that other platforms wait for can go on."""
        active = {kind for kind, one in self.rotations.items() if _is_waited_for(kind, one.step)}
        return bool(active) and active <= self.refused_kinds

    def refused(self, problem: str) -> RotationReport:
        """Returns the report of rotations that stay as they were, since their next step could not be recorded."""
        problems, kinds = (*self.problems, problem), frozenset(RotationKind)
        return RotationReport(self.before, self.before, problems=problems, refused_kinds=kinds)

    def seconds_until_next_step(self, now: datetime) -> float | None:
        """Returns when the platform has to be looked at again, even if nothing changes."""
        after = self.rotations
        if self.moves_base or any(
            (after[kind].step, after[kind].key) != (one.step, one.key) for kind, one in self.before.items()
        ):
            return 0.0
        return min(((time - now).total_seconds() for time in self.next_steps.values() if time > now), default=None)


# Which credentials a kind has.


def rotated_components(kind: RotationKind, spec: Spec) -> tuple[str, ...]:
    """Returns the components whose Secrets have the credentials of a kind. None for external databases."""
    match kind:
        case RotationKind.SIGNING:
            return ("jwt",)
        case RotationKind.ADMIN:
            return ("admin",)
        case RotationKind.GRPC:
            return tuple(f"{service}-grpc" for service in SERVICES)
        case RotationKind.DATABASES | RotationKind.OWNERS:
            suffix = "db" if kind is RotationKind.OWNERS else "db-runtime"
            own = spec.databases.provider != "external"
            return tuple(f"{service}-{suffix}" for service in WITH_DATABASE) if own else ()
        case RotationKind.CACHE:
            return ("redis",) if spec.cache.provider == "builtin" else ()
        case RotationKind.BROKER:
            own = spec.broker.provider != "external"
            return ("rabbitmq", *(f"{service}-broker" for service in WITH_BROKER)) if own else ()
        case RotationKind.AUTHORITY:
            stores = own_stores(spec)
            clients = (rotated_components(one, spec) for one in _CLIENTS if one is not RotationKind.ADMIN)
            databases = tuple(store for store in stores if store.endswith("-db"))
            return (AUTHORITY, *(f"{store}-tls" for store in stores), *databases, *itertools.chain(*clients))


def kind_of(component: str) -> RotationKind:
    """Returns the kind that the Secret of a component belongs to."""
    return next(kind for name, kind in _KINDS.items() if component == name or component.endswith(f"-{name}"))


_KINDS = {
    "jwt": RotationKind.SIGNING,
    "admin": RotationKind.ADMIN,
    "grpc": RotationKind.GRPC,
    "db": RotationKind.OWNERS,
    "db-runtime": RotationKind.DATABASES,
    "redis": RotationKind.CACHE,
    "rabbitmq": RotationKind.BROKER,
    "broker": RotationKind.BROKER,
    "ca": RotationKind.AUTHORITY,
    "tls": RotationKind.AUTHORITY,
}
"""The kinds of credentials by the name of their component, which follows that of a service where each has its own."""


def generation_annotations(spec: Spec, rotations: Rotations) -> dict[str, dict[str, str]]:
    """Returns the annotation of each service's pods, which are replaced when the credentials that they read change.

    What a store accepts beside the credentials in use changes no pod of a service.
    """
    marks = {service: {"grpc": rotations[RotationKind.GRPC].mark} for service in SERVICES}
    marks["user"]["signing"] = rotations[RotationKind.SIGNING].mark
    for kind, clients in _CLIENTS.items():
        for service in clients if rotated_components(kind, spec) else ():
            marks[service][str(kind)] = str(rotations[kind].generation or "")
            if kind is not RotationKind.ADMIN:
                marks[service][str(RotationKind.AUTHORITY)] = trusted_generations(rotations)
    texts = {
        service: ", ".join(f"{kind} {mark}" for kind, mark in sorted(own.items()) if mark)
        for service, own in marks.items()
    }
    return {service: {ANNOTATION_GENERATION: text} for service, text in texts.items() if text}


_CLIENTS = {
    RotationKind.DATABASES: WITH_DATABASE,
    RotationKind.CACHE: WITH_CACHE,
    RotationKind.BROKER: WITH_BROKER,
    RotationKind.ADMIN: ("user",),
}
"""The services that are replaced when a kind is used: the clients of a store, and the one that registers the admin."""


def trusted_generations(rotations: Rotations) -> str:
    """Returns the generations of the authorities that clients trust; empty for an authority that never changed.

    In `Publish` and in `Use` they are the same two: clients are replaced in `Publish` and in `Retire` alone.
    """
    authority = rotations[RotationKind.AUTHORITY]
    if authority.also_accepted is None:
        return authority.mark
    return "+".join(str(one) for one in sorted((authority.generation, authority.also_accepted)))


# Which master keys credentials derive from.


def kind_key_ids(rotation: Rotation, keys: KeyRing) -> str:
    """Returns the annotation of the Secrets of a kind: the ids of the master keys of its valid generations."""
    ids = [rotation.key] if rotation.also_accepted is None else [rotation.key, rotation.other_key]
    return join_ids(keys.find(one).id for one in ids)


def shop_key_ids(rotations: Rotations, keys: KeyRing) -> str:
    """Returns the annotation of a shop's records: the ids of all master keys that it needs, first that of its base."""
    recorded = [one for rotation in rotations.values() for one in (rotation.key, rotation.other_key)]
    return join_ids(keys.find(one).id for one in ("", *recorded))


def migration_rotation(rotations: Rotations) -> dict[str, dict[str, str | int]]:
    """Returns the values of the charts' `migration` that differ by rotations; empty for roles that never changed.

    In `Use` of the owners, the migration knows the former password too, and replaces it. So it has shown that the next
    one works before the former one is gone.
    """
    roles, owners = rotations[RotationKind.DATABASES], rotations[RotationKind.OWNERS]
    values: dict[str, dict[str, str | int]] = {}
    if roles.mark:
        step = roles.step if roles.also_accepted is not None else RotationStep.RETIRE
        values["rotation"] = {"generation": roles.generation, "step": str(step)}
    if owners.generation:
        values["ownerRotation"] = {"generation": owners.generation, "replaces": owners.step is RotationStep.USE}
    return values


# What is asked for.


REQUESTED = tuple(kind for kind in RotationKind if kind is not RotationKind.AUTHORITY)
"""The kinds that rotate by request or schedule. An authority rotates when its master key does: the certificates that it
signs are replaced every 30 days."""
_REQUEST = re.compile(rf"({'|'.join(REQUESTED)}|all):[A-Za-z0-9._-]{{1,63}}")


def parse_request(value: str, spec: Spec) -> RotationRequest:
    """Returns the request in the value of the annotation, which is empty without one."""
    if not value:
        return RotationRequest()
    found = _REQUEST.fullmatch(value)
    if found is None:
        return RotationRequest(
            problem=f"Annotation {ANNOTATION_ROTATE} is malformed: write {', '.join(REQUESTED)} or all, a colon and "
            "a name that no earlier request has, such as all:2026-11."
        )
    available = frozenset(kind for kind in REQUESTED if rotated_components(kind, spec))
    kinds = available if found[1] == "all" else available & {found[1]}
    problem = "" if kinds else f"{found[1]}: external stores are not rotated by the operator: change their Secrets."
    return RotationRequest(value, kinds, problem)


def foreign_secrets(kind: RotationKind, key: PlatformKey, spec: Spec, observed: Children) -> tuple[str, ...]:
    """Returns the names of a kind's Secrets that exist and are not derived by the operator."""
    identities = (ObjectId("Secret", f"{key.name}-{component}") for component in rotated_components(kind, spec))
    return tuple(one.name for one in identities if one in observed and not key_ids(observed[one]))


# How a rotation goes on.


def advance_rotations(
    platform: Platform,
    spec: Spec,
    observed: Children,
    rotations: Rotations,
    now: datetime,
    keys: KeyRing,
    *,
    goes_on: bool,
    older_than: str = "",
    before_it: Collection[PlatformKey] = (),
) -> RotationReport:
    """Returns the rotations as they stand from now on. Only a platform that has converged `goes_on`.

    `older_than` is the operator's own version, if the services are to run another one. `before_it` are the platforms
    whose rotations have to end before this one moves to the current master key.
    """
    key, request = platform.key, parse_request(platform.annotations.get(ANNOTATION_ROTATE, ""), spec)
    taken = _take(request, rotations)
    advanced, problems = dict(taken if goes_on else rotations), [request.problem] if request.problem else []
    refused = set[RotationKind]()
    behind = _kinds_behind(spec, rotations, keys)
    moves = behind if not before_it else frozenset()
    for kind, rotation in taken.items():
        is_due = kind in moves or _is_due(kind, rotation, request, spec, platform.created, now)
        if not (rotation.is_active or is_due):
            continue
        if foreign := foreign_secrets(kind, key, spec, observed):
            problems.append(_foreign(kind, foreign))
            refused.add(kind)
        elif older_than and kind in _UNDERSTOOD_BY_SERVICES:
            problems.append(_not_understood(kind, older_than))
            refused.add(kind)
        elif goes_on:
            hold = _hold(kind, rotation.step, spec)
            followed = _followed(kind, rotation, request)
            advanced[kind] = _advance(rotation, followed, hold, now, keys.current.id)
    times = {
        kind: one.rolled_out + _hold(kind, one.step, spec)
        for kind, one in advanced.items()
        if one.rolled_out is not None
    }
    left = _left_behind(observed, keys)
    has_moved = goes_on and not (behind or left or _any_active(advanced))
    moves_base = has_moved and not keys.is_current(keys.base.id)
    if has_moved:  # kinds of external stores have no Secrets left
        advanced = {kind: one if keys.is_current(one.key) else replace(one, key="") for kind, one in advanced.items()}
    is_record_due = goes_on and not is_recorded(key, observed, advanced, shop_key_ids(advanced, keys))
    waits = ""
    if behind or left:
        waits = _needs_former_key(keys, left if not behind else (), before_it if behind else ())
    awaits_turn = bool(behind and before_it)
    return RotationReport(
        rotations, advanced, times, tuple(problems), frozenset(refused), is_record_due, waits, awaits_turn, moves_base
    )


def _any_active(rotations: Rotations) -> bool:
    return any(one.is_active for one in rotations.values())


def _kinds_behind(spec: Spec, rotations: Rotations, keys: KeyRing) -> frozenset[RotationKind]:
    """Returns the kinds in use that derive from another master key than the current one."""
    return frozenset(
        kind
        for kind, one in rotations.items()
        if rotated_components(kind, spec) and not keys.is_current(keys.find(one.key).id)
    )


def _left_behind(observed: Children, keys: KeyRing) -> tuple[str, ...]:
    """Returns the names of Secrets that derive from another master key than the current one."""
    return tuple(
        sorted(
            identity.name
            for identity, seen in observed.items()
            if identity.kind == "Secret" and not all(map(keys.is_current, key_ids(seen)))
        )
    )


def _needs_former_key(keys: KeyRing, left: Sequence[str], before_it: Collection[PlatformKey]) -> str:
    former = keys.previous or keys.base  # after an exchange of the keys, the base may be the current one
    text = f"The shop needs the former master key {former.id}"
    if left:
        return f"{text} for {', '.join(left)}: docs/operations.md says what to do (Rotate the master key)."
    if before_it:
        others = f"{len(before_it)} other shops are" if len(before_it) > 1 else "another shop is"
        return f"{text} until it is its turn to move to {keys.current.id}: {others} being rotated."
    return f"{text} until all of its credentials derive from {keys.current.id}."


def is_rotating(platform: Platform, *, begins: bool = False) -> bool:
    """Returns whether credentials of a platform are being rotated, and can go on, so that others wait for that.

    `begins` says that a rotation has begun which its status does not show yet.

    A former signing secret is accepted for days: other platforms do not wait for that either.
    """
    rows = platform.status.get("rotation", ())
    is_active = any(_is_waited_for(row["name"], row["step"]) for row in rows)
    return (is_active or begins) and not _is_held_up(platform)


def _is_held_up(platform: Platform) -> bool:
    """Returns whether no step of a rotation comes until a person or a restore has changed something.

    A degraded platform is none of these: the rotation may be what has degraded it, and then it must not go on through
    all others.
    """
    spec, status = platform.spec, platform.status
    rotating = stored_condition(status, "Rotating")
    return (
        platform.deleting
        or is_to_be_stopped(platform)
        or bool(spec.get("paused"))
        or "Observe" in (spec.get("mode"), status.get("mode"))
        or was_stopped(status)
        or (rotating is not None and rotating["reason"] == ConditionReason.ROTATION_REFUSED)
    )


def _is_waited_for(kind: str, step: str) -> bool:
    """Returns whether a kind is being rotated in a step for which other platforms wait."""
    return step != RotationStep.DONE and (kind, step) != (RotationKind.SIGNING, RotationStep.USE)


def _take(request: RotationRequest, rotations: Rotations) -> Rotations:
    """Returns the rotations with the kinds that a request covers, which are those of the moment when it is taken.

    So a request for all that stays on a platform rotates no kind that a later release of the operator adds.
    """
    if any(one.asked == request.name for one in rotations.values()):
        return rotations
    return {kind: replace(one, asked=request.name) if kind in request.kinds else one for kind, one in rotations.items()}


def _is_due(
    kind: RotationKind, rotation: Rotation, request: RotationRequest, spec: Spec, created: datetime, now: datetime
) -> bool:
    if kind not in REQUESTED:
        return False
    if kind in request.kinds and rotation.asked == request.name != rotation.request:
        return True
    days = spec.rotation.every_days
    is_overdue = days is not None and now >= (rotation.finished or created) + timedelta(days=days)
    return is_overdue and bool(rotated_components(kind, spec))


def _followed(kind: RotationKind, rotation: Rotation, request: RotationRequest) -> str:
    """Returns the request that is followed by a rotation which begins now."""
    return request.name if kind in request.kinds and rotation.asked == request.name else rotation.request


def _advance(rotation: Rotation, request: str, hold: timedelta, now: datetime, next_key: str) -> Rotation:
    """Returns the state that follows, in a platform all of whose pods have the credentials of `rotation`.

    A generation that is published derives from `next_key`, also if the operator gets another key until it is used.
    """
    if rotation.step is RotationStep.DONE:
        return replace(rotation, step=RotationStep.PUBLISH, since=now, request=request, other_key=next_key)
    rolled_out = rotation.rolled_out or now
    if now < rolled_out + hold:
        return replace(rotation, since=rotation.since or now, rolled_out=rolled_out)
    following = replace(rotation, since=now, rolled_out=None)
    if rotation.step is RotationStep.PUBLISH:
        following = replace(following, key=rotation.other_key, other_key=rotation.key)
        return replace(following, step=RotationStep.USE, generation=rotation.generation + 1)
    if rotation.step is RotationStep.USE:
        return replace(following, step=RotationStep.RETIRE, other_key="")
    return replace(following, step=RotationStep.DONE, finished=now)


def _hold(kind: RotationKind, step: RotationStep, spec: Spec) -> timedelta:
    """Returns the time for which a step stays after all pods have it."""
    if kind is RotationKind.AUTHORITY and step is RotationStep.USE:
        return STORE_TIME
    if kind in _TAKEN_OVER_BY_STORES:
        return timedelta() if step is RotationStep.DONE else STORE_TIME
    if step in (RotationStep.RETIRE, RotationStep.DONE):
        return timedelta()
    if kind is RotationKind.SIGNING:
        return KEY_CACHE_TIME if step is RotationStep.PUBLISH else longest_token_lifetime(spec) + TERMINATION_TIME
    return TERMINATION_TIME


_TAKEN_OVER_BY_STORES = (RotationKind.CACHE, RotationKind.BROKER)
"""The kinds whose values a running store reads from its Secret (docs/adr/0051)."""


def longest_token_lifetime(spec: Spec) -> timedelta:
    """Returns how long a token that was made with the signing secret may be valid."""
    settings, env = spec.settings.user, spec.services.get("user", Service()).env
    seconds = [
        int(env[variable]) if (variable := name.upper()) in env and env[variable].isdecimal()
        else getattr(settings, name) or default
        for name, default in TOKEN_SECONDS.items()
    ]  # fmt: skip
    return timedelta(seconds=max(seconds))


def _foreign(kind: RotationKind, names: Iterable[str]) -> str:
    return (
        f"Credentials of {kind} are not rotated: the operator did not derive {', '.join(names)}. Rotate them by hand, "
        "or give them to the operator, as docs/operations.md says (Rotate credentials)."
    )


_UNDERSTOOD_BY_SERVICES = (RotationKind.BROKER, RotationKind.ADMIN, RotationKind.OWNERS)
"""The kinds that services of earlier releases do not rotate: they refuse events of a second user, and leave the admin
and the owners of databases the former password."""


def _not_understood(kind: RotationKind, version: str) -> str:
    return (
        f"Credentials of {kind} are rotated only in a shop that runs version {version}, that of the operator: other "
        f"versions may not understand both values. Leave out spec.version, or set it to {version}."
    )


# How the state is stored.


def rotation_id(key: PlatformKey) -> ObjectId:
    return ObjectId("ConfigMap", f"{key.name}-{ROTATION_COMPONENT}")


def read_rotations(key: PlatformKey, observed: Children) -> Rotations:
    """Returns the rotations of a platform from their record, or as far as that is lost from its Secrets."""
    recorded = recorded_rotations(key, observed)
    marked = _marked_rotations(key, observed)
    if not _annotated_ids(key, observed):
        recorded = {kind: _with_keys_of(marked[kind], one) for kind, one in recorded.items()}
    return {kind: max(recorded[kind], marked[kind], key=_position) for kind in RotationKind}


def _with_keys_of(marked: Rotation, recorded: Rotation) -> Rotation:
    """Returns a recorded rotation with the ids of the Secrets that were written for it, as far as there are any."""
    if _position(marked) != _position(recorded):
        return recorded
    return replace(recorded, key=marked.key, other_key=marked.other_key)


def recorded_rotations(key: PlatformKey, observed: Children) -> Rotations:
    """Returns the rotations that the record has. What is missing or malformed there was never rotated.

    An id that the annotation of the record does not have is not used: who has lost a key removes the annotations.
    """
    state = state_of(rotation_id(key), observed)
    data = state.data if isinstance(state, StoredData) else {}
    ids = _annotated_ids(key, observed)
    return {kind: _with_ids_of(ids, _load(data[kind])) if kind in data else Rotation() for kind in RotationKind}


def _annotated_ids(key: PlatformKey, observed: Children) -> tuple[str, ...]:
    return key_ids(observed[rotation_id(key)]) if rotation_id(key) in observed else ()


def _with_ids_of(ids: Collection[str], rotation: Rotation) -> Rotation:
    used, other = (one if one in ids else "" for one in (rotation.key, rotation.other_key))
    return replace(rotation, key=used, other_key=other)


def is_recorded(key: PlatformKey, observed: Children, rotations: Rotations, ids: str) -> bool:
    """Returns whether the record has these rotations, the ids of the master keys that the shop needs, and its labels.

    A shop that was never rotated has no record.
    """
    seen = observed.get(rotation_id(key))
    is_kept = seen is None or (join_ids(key_ids(seen)) == ids and keeps_labels(key, ROTATION_COMPONENT, observed))
    return is_kept and rotations == recorded_rotations(key, observed)


def dump_rotations(rotations: Rotations) -> dict[str, str]:
    """Returns the data of the record."""
    return {str(kind): _dump(one) for kind, one in rotations.items() if one != Rotation()}


def _dump(rotation: Rotation) -> str:
    times = {"since": rotation.since, "rolledOut": rotation.rolled_out, "finished": rotation.finished}
    texts = {"key": rotation.key, "otherKey": rotation.other_key, "asked": rotation.asked}
    return json.dumps(
        {"generation": rotation.generation, "step": rotation.step, "request": rotation.request}
        | {name: time.isoformat() for name, time in times.items() if time}
        | {name: text for name, text in texts.items() if text}
    )


def _load(text: str) -> Rotation:
    try:
        stored = json.loads(text)
        times = [datetime.fromisoformat(stored[name]) if name in stored else None for name in _TIMES]
        return Rotation(
            int(stored["generation"]),
            RotationStep(stored["step"]),
            times[0],
            times[1],
            str(stored["request"]),
            times[2],
            str(stored.get("key", "")),
            str(stored.get("otherKey", "")),
            str(stored.get("asked", "")),
        )
    except (KeyError, TypeError, ValueError):
        return Rotation()


_TIMES = ("since", "rolledOut", "finished")


def _marked_rotations(key: PlatformKey, observed: Children) -> Rotations:
    """Returns for each kind the furthest rotation that its Secrets were written for."""
    marks: dict[RotationKind, list[Rotation]] = {kind: [] for kind in RotationKind}
    for identity, seen in observed.items():
        if identity.kind == "Secret" and isinstance(seen.state, StoredData) and (ids := key_ids(seen)):
            kind = kind_of(identity.name.removeprefix(f"{key.name}-"))
            marks[kind].append(_parse_mark(seen.state.annotations.get(ANNOTATION_GENERATION, ""), ids))
    return {kind: max(found, key=_position, default=Rotation()) for kind, found in marks.items()}


def _parse_mark(mark: str, ids: Sequence[str]) -> Rotation:
    generation, _, step = mark.partition(" ")
    try:
        rotation = Rotation(int(generation), RotationStep(step or RotationStep.DONE), key=ids[0])
        return rotation if rotation.also_accepted is None else replace(rotation, other_key=ids[-1])
    except ValueError:
        return Rotation()


def _position(rotation: Rotation) -> tuple[int, int]:
    """Orders the states of one kind by the credentials that they stand for."""
    return rotation.generation, _ORDER[rotation.step]


_ORDER = {RotationStep.USE: 0, RotationStep.RETIRE: 1, RotationStep.DONE: 1, RotationStep.PUBLISH: 2}
"""The steps of one generation: it is used first, and publishes the next at last."""
