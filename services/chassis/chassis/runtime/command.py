"""The command line of a service: `python -m <package> serve|migrate|resend`.

Each command imports only what it needs, because a migration takes less time than a service takes to import.
"""

import argparse
import asyncio
import importlib
import importlib.util
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from chassis.observability import logs
from chassis.settings import MigrationSettings, ResendSettings, load

if TYPE_CHECKING:
    from chassis.messaging.resend import Selection

EXIT_DATA_LOST = 65
"""The exit status of a migration whose database lost its data (EX_DATAERR of sysexits.h). charts/common fails the Job
at once for it, by which the operator recognizes the loss."""
_EXIT_TERMINATED = 128 + signal.SIGTERM
_PARTS = ("http", "grpc", "background")

log = logs.get_logger(__name__)


def run(package: str, arguments: Sequence[str] | None = None) -> None:
    """Runs the command line of a package.

    `serve` runs the PROGRAM of the package's `app`. `migrate` runs its `migrations`, and exists only if it has some.
    `resend` publishes events again, and exists only if the package publishes some.
    """
    service = package.removesuffix("_service")
    chosen = _parser(service, package).parse_args(arguments)
    if chosen.command == "resend":
        _resend(service, package, chosen)  # it runs beside process 1 of a pod, and ends at SIGTERM by default
        return
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    if chosen.command == "migrate":
        _migrate(service, package)
    else:
        importlib.import_module(f"{package}.app").PROGRAM.serve(frozenset(chosen.only))


def _exit_on_sigterm(*_: object) -> NoReturn:
    """Ends a process that gets SIGTERM while it starts or migrates.

    The kernel does nothing by default to process 1, as that of a container is: without a handler, a pod that is deleted
    while it starts would run on for its whole grace period.
    """
    sys.exit(_EXIT_TERMINATED)


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong with the arguments in one line, as the settings do."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser(service: str, package: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=package, description=f"Run or migrate the {service} service, or resend its events.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve HTTP and gRPC, publish and consume events")
    serve.add_argument(
        "--only", type=_parts, default=_PARTS, metavar="PARTS", help=f"run only these of {','.join(_PARTS)}"
    )
    if importlib.util.find_spec(f"{package}.migrations") is not None:
        commands.add_parser("migrate", help="migrate the database to the newest schema; idempotent")
    if importlib.util.find_spec(f"{package}.service.published_events") is not None:
        _add_resend(commands)
    return parser


def _add_resend(commands: "argparse._SubParsersAction[_Parser]") -> None:
    resend = commands.add_parser(
        "resend",
        help="publish events again that the broker has lost; idempotent",
        description="Publishes the events again that the broker confirmed in a period, with the same ids: a consumer "
        "that has received one ignores it. The serving processes publish them; this command does not wait for that. "
        "Exits with 0 when all are in the outbox, with 2 if the arguments are wrong, with 1 if the database fails.",
    )
    resend.add_argument("--since", type=_time, required=True, help="the start, like 2026-01-31T08:00:00Z")
    resend.add_argument("--until", type=_time, help="the end, which is excluded; by default now")
    resend.add_argument("--type", metavar="TYPE", help="only this event type, like order.placed.v1; by default all")


def _time(value: str) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value} is no time: write 2026-01-31T08:00:00Z") from None
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{value} has no time zone: write {value}Z for UTC")
    return time


def _parts(value: str) -> Sequence[str]:
    parts = value.split(",")
    unknown = sorted(set(parts) - set(_PARTS))
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(_PARTS)}")
    return parts


def _migrate(service: str, package: str) -> None:
    from chassis.database.migrations import migrate  # only here, because Alembic costs a serving process memory
    from chassis.database.roles import RuntimeRole
    from chassis.errors import DataLost

    settings = load(MigrationSettings)
    logs.configure(service, settings.tenant, settings.log_level)
    user = settings.db_runtime_user
    role = RuntimeRole(user, settings.db_runtime_password) if user else None
    try:
        asyncio.run(
            migrate(
                package,
                settings,
                runtime_role=role,
                migrated_at=settings.db_migrated_at,
                retired_role=settings.db_runtime_retired_user,
                former_password=settings.db_previous_password,
            )
        )
    except DataLost as error:
        log.exception("migration refused")
        sys.stderr.write(f"migration refused: {error}\n")
        raise SystemExit(EXIT_DATA_LOST) from None
    except Exception as error:
        log.exception("migration failed")
        sys.stderr.write(f"migration failed: {error}\n")
        raise SystemExit(1) from None


def _resend(service: str, package: str, chosen: argparse.Namespace) -> None:
    from chassis.errors import DatabaseUnavailable, ResendRefused  # only here, as what `migrate` imports
    from chassis.messaging.resend import Selection

    now = datetime.now(UTC)
    selection = Selection(chosen.since, chosen.until or now, chosen.type)
    try:
        selection.validate(service, now)
    except ResendRefused as error:
        sys.stderr.write(f"{package} resend: {error}\n")
        raise SystemExit(2) from None
    settings = load(ResendSettings)
    logs.configure(service, settings.tenant, settings.log_level)
    try:
        total = asyncio.run(_resend_all(settings, selection))
    except DatabaseUnavailable as error:
        sys.stderr.write(f"{package} resend: {error}; run the command again\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"{service}: {total} events are in the outbox again\n")


async def _resend_all(settings: ResendSettings, selection: "Selection") -> int:
    """Resends all events and returns how many. Writes its progress to stderr."""
    from chassis.database.engine import Database
    from chassis.messaging.resend import resend

    database = Database(settings, schema="")
    total = 0
    try:
        async for moved in resend(database, selection):
            total += moved
            sys.stderr.write(f"{total} events\n")
    finally:
        await database.close()
    return total
