"""`why`: what keeps a shop from being as its spec says, and the next command."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from kubectl_ecommerce.commands.command import Command, Report, Session
from kubectl_ecommerce.output import Style, Text, Tone, age, table, wrapped
from kubectl_ecommerce.shop import Row, Shop, UnhealthyCondition


def run(session: Session) -> Report:
    return report(session.shop(), session.now)


def report(shop: Shop, now: datetime) -> Report:
    """Returns the causes of a shop's state, with what to do about each."""
    data = {
        "namespace": shop.namespace,
        "name": shop.name,
        "state": shop.state,
        "causes": [one.dump() for one in shop.unhealthy_conditions],
        "waiting": [dict(row) for row in _waiting(shop)],
    }
    return Report(data, lambda style: "".join(_render(shop, now, style)))


WHY = Command(
    "why",
    "explain what blocks a shop, and name the next command",
    "Explains each unhealthy condition of a shop: the operator's message, what to do, the next command, and the "
    "section of docs/operations.md that says more. What a person has to do comes before what the operator waits for.",
    ("why", "why shop -n shop", "why shop -o json"),
    run,
)


def _render(shop: Shop, now: datetime, style: Style) -> Iterator[str]:
    if not shop.rows("conditions"):
        yield f"{shop}: the operator has not reported this shop yet. Next:\n"
        yield "   kubectl -n ecommerce-system get pods,lease\n"
        return
    if not shop.unhealthy_conditions:
        yield f"{shop} is {shop.state}: nothing blocks it.\n"
        return
    yield f"{style.paint(Text(str(shop), Tone.NAME))} is {shop.state}.\n"
    for number, condition in enumerate(shop.unhealthy_conditions, start=1):
        yield from _cause(number, condition, now, style)
    waiting = [*_waiting(shop)]
    if waiting:
        yield "\nThese objects wait for others:\n"
        rows = [(row["kind"], row["name"], age(str(row["since"]), now), row["message"]) for row in waiting]
        yield table(("KIND", "NAME", "FOR", "MESSAGE"), rows, style)


def _cause(number: int, one: UnhealthyCondition, now: datetime, style: Style) -> Iterator[str]:
    tone = Tone.WAIT if one.runbook.waits else Tone.BAD
    since = age(one.since, now)
    dated = f", for {since}" if since else ""
    yield f"\n{number}. {one.type} is {one.status}: {style.paint(Text(one.reason, tone))}{dated}\n"
    for line in wrapped(one.message, style, indent=3):
        yield f"   {line}\n"
    for line in wrapped(f"Do: {one.runbook.advice}", style, indent=3):
        yield f"   {line}\n"
    yield f"   Next: {style.paint(Text(one.command, Tone.NAME))}\n"
    yield f"   More: docs/operations.md#{one.runbook.section}\n"


def _waiting(shop: Shop) -> Iterator[Row]:
    return (row for row in shop.rows("blocked") if row["state"] == "Waiting")
