"""`resend-events`: has each service publish the events of a period again."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Collection
from datetime import datetime

from kubectl_ecommerce.commands.command import Command, Report, Session
from kubectl_ecommerce.errors import InterruptedCommandError, KubectlError, UsageError
from kubectl_ecommerce.output import clean

SERVICES = ("user", "product", "inventory", "order", "payment", "review")
"""The services that publish events."""


def run(session: Session) -> Report:
    shop, arguments = session.shop(), session.arguments
    period = [*_time("--since", arguments.since), *_time("--until", arguments.until)]
    period += ["--type", arguments.type] if arguments.type else []
    outputs: dict[str, str] = {}
    for service in (arguments.service,) if arguments.service else SERVICES:
        pod = f"deployment/{shop.name}-{service}"
        command = ["python", "-m", f"{service}_service", "resend", *period]
        if arguments.dry_run:
            outputs[service] = f"kubectl -n {shop.namespace} exec {pod} -- {' '.join(command)}"
            continue
        try:
            outputs[service] = session.kubectl.run("exec", pod, "--namespace", shop.namespace, "--", *command).strip()
        except KubectlError as error:
            raise KubectlError(f"{service}: {error} {_done(outputs)}") from None
        except KeyboardInterrupt:
            raise InterruptedCommandError(f"interrupted: {service} goes on in its pod. {_done(outputs)}") from None
    data = {"namespace": shop.namespace, "name": shop.name, "services": outputs}
    lines = [f"{service}: {clean(line)}\n" for service, text in outputs.items() for line in text.splitlines() or [""]]
    return Report(data, lambda _: "".join(lines))


def _done(outputs: Collection[str]) -> str:
    return f"It is done by {', '.join(outputs) or 'no service'}; it can be run again at any time."


def _time(flag: str, value: str | None) -> list[str]:
    if value is None:
        return []
    try:
        if datetime.fromisoformat(value).tzinfo is not None:
            return [flag, value]
    except ValueError:
        pass
    raise UsageError(f"{flag} {value} is no time with a time zone: write it like 2026-01-31T08:00:00Z")


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--since", required=True, metavar="TIME", help="the start, like 2026-01-31T08:00:00Z")
    parser.add_argument("--until", metavar="TIME", help="the end, which is excluded [now]")
    parser.add_argument("--type", help="only this event type, like order.placed.v1, of the service that publishes it")
    parser.add_argument("--service", choices=SERVICES, help="only the events of this service [all]")


RESEND_EVENTS = Command(
    "resend-events",
    "publish the events of a period again",
    "Runs `resend` in a pod of each service: the events that the broker confirmed in the period are published again, "
    "with the same ids, so that a service that has received one ignores it. Choose the start too early rather than too "
    "late, at most 29 days ago.",
    (
        "resend-events --since 2026-01-31T08:00:00Z",
        "resend-events shop -n shop --since 2026-01-31T08:00:00Z --service order --type order.placed.v1",
    ),
    run,
    _add_arguments,
    changes=True,
)
