"""The conditions of a platform that sum up its business invariants. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from platform_operator.api.conditions import Condition, ConditionReason, InvariantState
from platform_operator.api.kinds import PlatformKey
from platform_operator.api.spec import WITH_DATABASE
from platform_operator.invariants.rows import ALL_INVARIANTS, EVENTS_CONSUMED, EVENTS_PUBLISHED, Row
from platform_operator.invariants.scrape_results import BROKER, GATEWAY


@dataclass(frozen=True)
class InvariantCondition:
    """A condition type, and the services it sums up. Without services: what all of them say about events."""

    type: str
    services: tuple[str, ...]
    holds: str
    broken: str


_STOCK = InvariantCondition("NothingOversold", ("inventory",), "No stock is oversold", "Stock is inconsistent")
_PAYMENTS = InvariantCondition(
    "NoDoubleCharge",
    ("payment",),
    "No customer is charged twice or without an order",
    "Payments are inconsistent",
)
_OTHERS = InvariantCondition(
    "InvariantsHold",
    tuple(name for name in WITH_DATABASE if name not in (*_STOCK.services, *_PAYMENTS.services)),
    "The invariants of the other services hold",
    "Invariants of other services are broken",
)
_EVENTS = InvariantCondition(
    "EventsDelivered", (), "Every event reaches its consumers", "Events do not reach their consumers"
)
_PROXIES = InvariantCondition(
    "ProxiesTrusted",
    (GATEWAY,),
    "The gateway believes the proxies in front of it",
    "To the gateway, all callers behind a proxy are one caller with one rate limit",
)
INVARIANT_CONDITIONS = (_STOCK, _PAYMENTS, _OTHERS, _EVENTS, _PROXIES)


def invariant_conditions(rows: Sequence[Row], platform: PlatformKey) -> tuple[Condition, ...]:
    """Returns one condition for each of INVARIANT_CONDITIONS."""
    return tuple(
        _condition(summary, [row for row in rows if _concerns(row, summary)], platform)
        for summary in INVARIANT_CONDITIONS
    )


def _concerns(row: Row, summary: InvariantCondition) -> bool:
    of_events = row["name"] in (EVENTS_PUBLISHED, EVENTS_CONSUMED)
    if summary is _EVENTS:
        return of_events or _is_unread(row)
    return not of_events and row["service"] in summary.services


def _is_unread(row: Row) -> bool:
    """Returns whether nothing is known of a source, and so nothing of its events either. The gateway has none."""
    is_known = row["name"] != ALL_INVARIANTS or row.get("reason") == ConditionReason.NOT_EXPORTED
    return not is_known and row["service"] != GATEWAY


def _condition(summary: InvariantCondition, rows: Sequence[Row], platform: PlatformKey) -> Condition:
    broken = [row for row in rows if row["state"] == InvariantState.BROKEN]
    unknown = [row for row in rows if row["state"] == InvariantState.UNKNOWN]
    if broken:
        text = "; ".join(f"{row['service']}'s {row['name']}: {row.get('message', '')}" for row in broken)
        return _with_advice(summary.type, False, f"{summary.broken}. {text}", broken[0], platform)
    if unknown:
        text = "; ".join(dict.fromkeys(f"{row['service']}: {row.get('message', '')}" for row in unknown))
        return _with_advice(summary.type, None, f"Not known. {text}", unknown[0], platform)
    if not rows:
        return Condition(
            summary.type, None, ConditionReason.NOT_EXPORTED, "Not known: no service exports these invariants."
        )
    return Condition(summary.type, True, ConditionReason.ALL_HOLD, f"{summary.holds}.")


def _with_advice(type_: str, status: bool | None, text: str, first: Row, platform: PlatformKey) -> Condition:
    """Adds what to do about the first of the rows.

    An operator of another version may have stored it, with another reason.
    """
    stored = first.get("reason")
    reason = ConditionReason(stored) if stored in _REASONS else ConditionReason.NOT_SCRAPED
    return Condition(type_, status, reason, f"{text}. {_advice(first, reason, platform)}".strip())


_REASONS = frozenset(ConditionReason)


def _advice(row: Row, reason: ConditionReason, platform: PlatformKey) -> str:
    server, kubectl = f"{platform.name}-{row['service']}", f"kubectl -n {platform.namespace}"
    match reason:
        case ConditionReason.NOT_SCRAPED:
            return ""
        case ConditionReason.INVARIANT_BROKEN:
            return (
                f"To see which rows: {kubectl} logs deployment/{server} | grep {row['name']}; "
                "the service's invariants.sql has the query."
            )
        case ConditionReason.EVENTS_DELAYED:
            return (
                f"To see why the broker does not accept them: {kubectl} logs deployment/{server} | grep outbox, "
                f"and {kubectl} get pods -l app.kubernetes.io/component={BROKER}"
            )
        case ConditionReason.DEAD_LETTERS:
            return (
                "The log of the service that the queue is named after says why each event was rejected: "
                f"{kubectl} logs deployment/{platform.name}-SERVICE; then move the events back to its queue."
            )
        case ConditionReason.UNTRUSTED_PROXY:
            return (
                "Name the namespace of the ingress controller or Gateway in spec.ingress.proxyNamespaces, or the "
                "networks of other proxies in spec.settings.gateway.trustedProxies. If no proxy is in front of the "
                f"gateway, clients send the headers themselves, and it is right: {kubectl} get ingress,service {server}"
            )
        case ConditionReason.NOT_EXPORTED:
            return "Set spec.version to a version of the services that exports them."
        case ConditionReason.LIMIT_EXCEEDED:
            return f"Read {kubectl} get deployment {server} -o yaml: its image may not be the platform's."
        case ConditionReason.NOT_CHECKED:
            return f"Read {kubectl} logs deployment/{server}: its database may be unavailable."
        case _:
            return (
                f"Check that {kubectl} get pods -l app.kubernetes.io/component={row['service']} shows a ready pod, and "
                "that no NetworkPolicy blocks the operator from port metrics of its Service."
            )
