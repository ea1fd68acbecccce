"""The command line of a service: `python -m <package> serve|migrate`.

Each command imports only what it needs, because a migration takes less time than a service takes to import.
"""

import argparse
import asyncio
import importlib
import importlib.util
import sys
from collections.abc import Sequence

from chassis.observability import logs
from chassis.settings import MigrationSettings, load

_PARTS = ("http", "grpc", "background")

log = logs.get_logger(__name__)


def run(package: str, arguments: Sequence[str] | None = None) -> None:
    """Runs the command line of a package.

    `serve` runs the PROGRAM of the package's `app`. `migrate` runs its `migrations`, and exists only if it has some.
    """
    service = package.removesuffix("_service")
    chosen = _parser(service, package).parse_args(arguments)
    if chosen.command == "migrate":
        _migrate(service, package)
    else:
        importlib.import_module(f"{package}.app").PROGRAM.serve(frozenset(chosen.only))


def _parser(service: str, package: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=package, description=f"Run or migrate the {service} service.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve HTTP and gRPC, publish and consume events")
    serve.add_argument(
        "--only", type=_parts, default=_PARTS, metavar="PARTS", help=f"run only these of {','.join(_PARTS)}"
    )
    if importlib.util.find_spec(f"{package}.migrations") is not None:
        commands.add_parser("migrate", help="migrate the database to the newest schema; idempotent")
    return parser


def _parts(value: str) -> Sequence[str]:
    parts = value.split(",")
    unknown = sorted(set(parts) - set(_PARTS))
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(_PARTS)}")
    return parts


def _migrate(service: str, package: str) -> None:
    from chassis.database.migrations import migrate  # only here, because Alembic costs a serving process memory

    settings = load(MigrationSettings)
    logs.configure(service, settings.tenant, settings.log_level)
    try:
        asyncio.run(migrate(package, settings))
    except Exception as error:
        log.exception("migration failed")
        sys.stderr.write(f"migration failed: {error}\n")
        raise SystemExit(1) from None
