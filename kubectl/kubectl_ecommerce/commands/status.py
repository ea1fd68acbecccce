"""`status`: a shop as a tree, or many as a table."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from kubectl_ecommerce.commands.command import Command, Report, Session
from kubectl_ecommerce.errors import UsageError
from kubectl_ecommerce.output import Cell, Node, Style, Text, Tone, age, table, tree
from kubectl_ecommerce.shop import Row, Shop, UnhealthyCondition


def run(session: Session) -> Report:
    arguments = session.arguments
    if arguments.shop and arguments.all_namespaces:
        raise UsageError(f"-A shows all shops: leave out {arguments.shop}, or name its namespace with -n")
    if arguments.shop:
        return report(session.shop(), session.now)
    shops = session.shops(everywhere=arguments.all_namespaces)
    if len(shops) == 1 and not arguments.all_namespaces:
        return report(shops[0], session.now)
    return Report({"shops": [one.summary for one in shops]}, lambda style: _summaries(shops, style))


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="one line for each shop of the cluster")


STATUS = Command(
    "status",
    "show a shop as a tree, or all shops with -A",
    "Shows a shop as a tree: its version, its unhealthy conditions, its services and databases, and why they "
    "are not ready. Without SHOP: the only shop of the namespace, or one line for each.",
    ("status", "status shop -n shop", "status -A", "status shop -o json"),
    run,
    _add_arguments,
)


def report(shop: Shop, now: datetime) -> Report:
    """Returns the tree of a shop."""
    return Report(_data(shop), lambda style: tree(_tree(shop, now, style), style))


def _data(shop: Shop) -> dict[str, Any]:
    status = shop.status
    return shop.summary | {
        "url": status.get("url", ""),
        "mode": status.get("mode", ""),
        "upgrade": dict(shop.upgrade),
        "observedNewestSpec": shop.is_current,
        "troubles": [one.dump() for one in shop.unhealthy_conditions],
        "services": [dict(row) | {"causes": _messages(_service_blockers(shop, row))} for row in shop.rows("services")],
        "databases": [
            dict(row) | {"causes": _messages(_database_blockers(shop, row))} for row in shop.rows("databases")
        ],
        "blocked": [dict(row) for row in shop.rows("blocked")],
    }


def _messages(rows: Sequence[Row]) -> list[str]:
    return [f"{row['kind']} {row['name']}: {row['message']}" for row in rows]


_TONES = {
    "Ready": Tone.GOOD, "Degraded": Tone.BAD, "RollingBack": Tone.BAD, "NotReported": Tone.BAD,
}  # fmt: skip


def _tone(state: str) -> Tone:
    return _TONES.get(state, Tone.WAIT)


def _tree(shop: Shop, now: datetime, style: Style) -> Node:
    head: list[Cell] = [Text(str(shop), Tone.NAME), Text(shop.state, _tone(shop.state)), shop.status.get("url", "")]
    return Node([cell for cell in head if cell], branches=[*_branches(shop, now, style)])


def _branches(shop: Shop, now: datetime, style: Style) -> Iterator[Node]:
    yield Node([f"version {_version(shop)}"], _version_note(shop))
    yield Node([f"mode {shop.status.get('mode', 'not reported')}"])
    if shop.unhealthy_conditions:
        yield Node(["conditions"], branches=[_condition(one, now, style) for one in shop.unhealthy_conditions])
    services, databases = shop.rows("services"), shop.rows("databases")
    if services:
        branches = [_service(shop, row, now, style) for row in services]
        yield Node([f"services {shop.status.get('servicesReady', '')}"], branches=branches)
    if databases:
        ready = sum(bool(row["ready"]) for row in databases)
        branches = [_database(shop, row, now, style) for row in databases]
        yield Node([f"databases {ready}/{len(databases)}"], branches=branches)
    if others := _other_blockers(shop):
        yield Node(["blocked"], branches=[_blocked(row, now, style) for row in others])


def _version(shop: Shop) -> str:
    running = shop.version or "none yet"
    return running if shop.target in ("", shop.version) else f"{running}, to be {shop.target}"


def _version_note(shop: Shop) -> str:
    if not shop.rows("conditions"):
        return "The operator has not reported this shop yet: check that it runs, and that it watches this namespace."
    notes = []
    if not shop.is_current:
        notes.append("The operator has not seen the newest spec yet.")
    if shop.upgrade:
        cause = f": {shop.upgrade['cause']}" if shop.upgrade.get("cause") else ""
        notes.append(f"Upgrade to {shop.upgrade['version']}: {shop.upgrade['phase']} in {shop.upgrade['step']}{cause}")
    return " ".join(notes)


def _condition(one: UnhealthyCondition, now: datetime, style: Style) -> Node:
    tone = Tone.WAIT if one.runbook.waits else Tone.BAD
    cells: list[Cell] = [style.mark(tone), one.type, Text(one.reason, tone), Text(age(one.since, now), Tone.FAINT)]
    return Node(cells, one.message)


def _service(shop: Shop, row: Row, now: datetime, style: Style) -> Node:
    counts = f"{row.get('readyReplicas', 0)}/{row.get('replicas', 0)}"
    tone = Tone.GOOD if row["ready"] else Tone.BAD
    cells: list[Cell] = [style.mark(tone), row["name"], counts, Text(row.get("version", ""), Tone.FAINT)]
    return Node(cells, branches=[_blocked(one, now, style) for one in _service_blockers(shop, row)])


def _database(shop: Shop, row: Row, now: datetime, style: Style) -> Node:
    tone = Tone.GOOD if row["ready"] else Tone.BAD
    word = "ready" if row["ready"] else "not ready"
    cells: list[Cell] = [style.mark(tone), row["name"], word, Text(row.get("provider", ""), Tone.FAINT)]
    return Node(cells, branches=[_blocked(one, now, style) for one in _database_blockers(shop, row)])


def _blocked(row: Row, now: datetime, style: Style) -> Node:
    tone = Tone.WAIT if row["state"] == "Waiting" else Tone.BAD
    since = Text(age(str(row["since"]), now), Tone.FAINT)
    return Node([style.mark(tone), f"{row['kind']} {row['name']}", Text(row["state"], tone), since], row["message"])


def _service_blockers(shop: Shop, row: Row) -> list[Row]:
    name = f"{shop.name}-{row['name']}"
    return [*shop.blocked(name, f"{name}-migrate-")]


def _database_blockers(shop: Shop, row: Row) -> list[Row]:
    return [*shop.blocked(f"{shop.name}-{row['name']}")]


def _other_blockers(shop: Shop) -> list[Row]:
    """Returns the objects that block and belong to no service or database: Redis, RabbitMQ, and all others."""
    services = (row for service in shop.rows("services") for row in _service_blockers(shop, service))
    databases = (row for database in shop.rows("databases") for row in _database_blockers(shop, database))
    shown = {(row["kind"], row["name"]) for row in (*services, *databases)}
    return [row for row in shop.rows("blocked") if (row["kind"], row["name"]) not in shown]


def _summaries(shops: Sequence[Shop], style: Style) -> str:
    if not shops:
        return "There are no shops.\n"
    head = ("NAMESPACE", "NAME", "STATE", "VERSION", "TARGET", "SERVICES", "REASONS")
    return table(head, [_summary(shop) for shop in shops], style)


def _summary(shop: Shop) -> Sequence[Cell]:
    return (
        shop.namespace,
        shop.name,
        Text(shop.state, _tone(shop.state)),
        shop.version,
        shop.target,
        shop.status.get("servicesReady", ""),
        ", ".join(one.reason for one in shop.unhealthy_conditions),
    )
