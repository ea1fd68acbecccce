"""`python -m <package> serve|migrate`: what a service's process is asked to do. Each imports only what it needs, since a migration is
over in less time than a service takes to load.
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
    """The command of a package whose `app` has the PROGRAM to serve, and whose `migrations` make its database, if it has one."""
    service = package.removesuffix("_service")
    parser = argparse.ArgumentParser(prog=package, description=f"The {service} service.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve", help="serve HTTP and gRPC, relay and consume events")
    serve.add_argument(
        "--only", type=_parts, default=_PARTS, metavar="PARTS", help=f"of {','.join(_PARTS)}, what this process runs"
    )
    if importlib.util.find_spec(f"{package}.migrations") is not None:
        verbs.add_parser("migrate", help="bring the database to the newest schema; idempotent")
    chosen = parser.parse_args(arguments)
    if chosen.verb == "migrate":
        _migrate(service, package)
    else:
        importlib.import_module(f"{package}.app").PROGRAM.serve(frozenset(chosen.only))


def _parts(value: str) -> Sequence[str]:
    parts = value.split(",")
    unknown = sorted(set(parts) - set(_PARTS))
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose of {', '.join(_PARTS)}")
    return parts


def _migrate(service: str, package: str) -> None:
    from chassis.database.migrations import migrate  # Alembic is needed here alone, and costs memory

    settings = load(MigrationSettings)
    logs.configure(service, settings.tenant, settings.log_level)
    try:
        asyncio.run(migrate(package, settings))
    except Exception as error:
        log.exception("migration failed")
        sys.stderr.write(f"migration failed: {error}\n")
        raise SystemExit(1) from None
