"""`tenants`: the tenants of a cluster as a table, or one as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from kubectl_ecommerce.commands.command import Command, Report, Session
from kubectl_ecommerce.errors import NoSuchTenantError, NotFoundError
from kubectl_ecommerce.kubectl import TENANTS, Manifest
from kubectl_ecommerce.output import Cell, Node, Style, Text, Tone, age, table, tree

_UNHEALTHY = {"Ready": "False", "PlanApplied": "False", "HostConflict": "True", "Deleting": "True"}
"""The statuses of conditions that are unhealthy."""
_TONES = {
    "Ready": Tone.GOOD,
    "Suspended": Tone.GOOD,
    "Degraded": Tone.BAD,
    "UpgradeFailed": Tone.BAD,
    "PlanViolated": Tone.BAD,
    "Refused": Tone.BAD,
}


def run(session: Session) -> Report:
    name: str | None = session.arguments.tenant
    if name is not None:
        tenant = _read(session, name)
        return Report(_data(tenant), lambda style: tree(_tree(tenant, session.now, style), style))
    tenants = sorted(session.kubectl.read(TENANTS)["items"], key=_name)
    return Report({"tenants": [_data(one) for one in tenants]}, lambda style: _rows(tenants, style))


TENANTS_COMMAND = Command(
    "tenants",
    "list the tenants of the cluster, or show one",
    "Shows each tenant in one line: its plan, shop and host, and what the platform team bills: the orders of the day "
    "before, pods and storage. With TENANT: its unhealthy conditions and its usage.",
    ("tenants", "tenants acme", "tenants -o json"),
    run,
    resource=TENANTS,
)


def _read(session: Session, name: str) -> Manifest:
    try:
        return session.kubectl.read(TENANTS, name)
    except NotFoundError:
        raise NoSuchTenantError(f"there is no tenant {name}: list all with kubectl ecommerce tenants") from None


def _data(tenant: Manifest) -> dict[str, Any]:
    spec, status = tenant.get("spec", {}), tenant.get("status", {})
    return {
        "name": _name(tenant),
        "plan": status.get("plan", spec.get("planRef", {}).get("name", "")),
        "state": _state(tenant),
        "namespace": status.get("namespace", ""),
        "host": spec.get("host", ""),
        "servicesReady": status.get("servicesReady", ""),
        "deletionTime": status.get("deletionTime", ""),
        "usage": dict(status.get("usage", {})),
        "reasons": [one["reason"] for one in _unhealthy(tenant)],
        "conditions": [dict(one) for one in status.get("conditions", ())],
    }


def _name(tenant: Manifest) -> str:
    return str(tenant["metadata"]["name"])


def _state(tenant: Manifest) -> str:
    return str(tenant.get("status", {}).get("state", "NotReported"))


def _unhealthy(tenant: Manifest) -> list[Mapping[str, str]]:
    conditions = tenant.get("status", {}).get("conditions", ())
    return [one for one in conditions if _UNHEALTHY.get(one["type"]) == one["status"]]


def _rows(tenants: Sequence[Manifest], style: Style) -> str:
    if not tenants:
        return "There are no tenants.\n"
    head = ("NAME", "PLAN", "STATE", "SHOP", "HOST", "ORDERS/DAY", "PODS", "STORAGE", "REASONS")
    return table(head, [_row(_data(one)) for one in tenants], style)


def _row(data: Mapping[str, Any]) -> Sequence[Cell]:
    usage, state = data["usage"], data["state"]
    return (
        data["name"],
        data["plan"],
        Text(state, _TONES.get(state, Tone.WAIT)),
        data["servicesReady"],
        data["host"],
        str(usage.get("ordersYesterday", "")),
        str(usage.get("pods", "")),
        usage.get("storageRequested", ""),
        ", ".join(one for one in data["reasons"] if one != state),
    )


def _tree(tenant: Manifest, now: datetime, style: Style) -> Node:
    data = _data(tenant)
    head: list[Cell] = [Text(data["name"], Tone.NAME), Text(data["state"], _TONES.get(data["state"], Tone.WAIT))]
    return Node([*head, *([data["host"]] if data["host"] else [])], branches=[*_branches(tenant, data, now, style)])


def _branches(tenant: Manifest, data: Mapping[str, Any], now: datetime, style: Style) -> Iterator[Node]:
    yield Node([f"plan {data['plan']}"])
    if not data["conditions"]:
        note = "The operator has not reported this tenant yet: check that it runs with tenants.enabled."
        yield Node(["not reported"], note)
    if unhealthy := _unhealthy(tenant):
        yield Node(["conditions"], branches=[_condition(one, now, style) for one in unhealthy])
    if data["namespace"]:
        yield Node([f"shop {data['servicesReady']}"], f"kubectl ecommerce status shop -n {data['namespace']}")
    if data["usage"]:
        yield Node([f"usage {_usage(data['usage'])}"])


_USAGE = (
    ("pods", "{} pods"),
    ("storageRequested", "{} of storage"),
    ("ordersToday", "{} orders today"),
    ("ordersYesterday", "{} the day before"),
    ("ordersTotal", "{} in all"),
)


def _usage(usage: Mapping[str, Any]) -> str:
    return ", ".join(text.format(usage[name]) for name, text in _USAGE if name in usage)


def _condition(one: Mapping[str, str], now: datetime, style: Style) -> Node:
    since = Text(age(one["lastTransitionTime"], now), Tone.FAINT)
    return Node([style.mark(Tone.WAIT), one["type"], Text(one["reason"], Tone.WAIT), since], one["message"])
