"""Runs a developer's shop: the services as processes of one terminal, restarted when their source changes, on data that
stays.

Its secrets are generated on the first start and kept, with each service's variables and log, in .shop/<name> of the
repository.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_urlsafe

from chassis.messaging.topology import load_topology

from devtools.file_watcher import changes
from devtools.services import SERVICES
from devtools.stack import Plan, Ports, Servers, Stack, StackError, design_ports, free_ports
from devtools.supervisor import Supervisor, run_unless_set
from devtools.terminal import Terminal, wants_colour

_ROOT = Path(__file__).parents[2]
_WITH_DATABASE = tuple(service for service, kind in SERVICES.items() if kind.database)


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a developer's shop, readable by their owner only."""

    path: Path

    @property
    def secrets(self) -> Path:
        return self.path / "secrets.env"

    def kept_secrets(self) -> Mapping[str, str]:
        """Returns the secrets by variable. They are generated once, so that tokens and the admin's password outlive a
        restart.
        """
        if not self.secrets.exists():
            made = {
                "JWT_SECRET": token_urlsafe(48),
                "ADMIN_EMAIL": "admin@example.com",
                "ADMIN_PASSWORD": token_urlsafe(18),
            }
            _write_variables(self.secrets, made)
        return dict(line.split("=", 1) for line in self.secrets.read_text().splitlines())

    def write_environments(self, stack: Stack) -> None:
        """Writes each service's variables, for a debugger that runs it in place of its process."""
        for service in SERVICES:
            _write_variables(self.environment_of(service), stack.environment_of(service))

    def environment_of(self, service: str) -> Path:
        return self.path / f"{service}.env"


def _write_variables(path: Path, variables: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = _parser().parse_args(arguments)
    folder = Folder(_ROOT / ".shop" / chosen.name)
    secrets = folder.kept_secrets()
    plan = Plan(
        name=chosen.name,
        logs=folder.path / "logs",
        ports=design_ports(),
        redis_database=1,
        settings={service: _tracing() for service in SERVICES},
        jwt_secret=secrets["JWT_SECRET"],
        admin_email=secrets["ADMIN_EMAIL"],
        admin_password=secrets["ADMIN_PASSWORD"],
    )
    try:
        if chosen.verb == "migrate":
            asyncio.run(_migrate(plan, chosen.service))
        elif chosen.verb == "resend":
            asyncio.run(_resend(plan, chosen))
        else:
            asyncio.run(_run_until_interrupted(_with_options(plan, chosen), folder, chosen))
    except StackError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error}: do the test servers run? `make test-env-up` starts them")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devtools.run_all", description=__doc__)
    parser.add_argument("--name", default="local", help="sets data and files apart from other shops' [%(default)s]")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run the services until Ctrl-C")
    run.add_argument("--fresh", action="store_true", help="drop the data of earlier runs first")
    run.add_argument(
        "--without", action="append", default=[], choices=SERVICES, metavar="SERVICE",
        help="leave one out, to run it in a debugger with the variables of .shop/<name>/<service>.env",
    )  # fmt: skip
    run.add_argument("--free-ports", action="store_true", help="any ports, instead of 8080 to 8087")
    run.add_argument("--redis-database", type=int, default=1, metavar="N", help="emptied at the start [%(default)s]")
    run.add_argument("--logs", type=Path, metavar="FOLDER", help="of one log a service [.shop/<name>/logs]")
    migrate = verbs.add_parser("migrate", help="bring the databases to their newest schema; makes missing ones")
    migrate.add_argument("--service", choices=_WITH_DATABASE, metavar="SERVICE", help="this one's alone")
    resend = verbs.add_parser("resend", help="publish the events of all services again; `resend` of each service")
    resend.add_argument("--since", required=True, metavar="TIME", help="the start, like 2026-01-31T08:00:00Z")
    resend.add_argument("--until", metavar="TIME", help="the end, which is excluded; by default now")
    resend.add_argument("--type", metavar="TYPE", choices=load_topology().events, help="only this event type")
    return parser


def _tracing() -> dict[str, str]:
    """Returns the OTEL_* variables of this terminal, which configure tracing."""
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}


def _with_options(plan: Plan, chosen: argparse.Namespace) -> Plan:
    return replace(
        plan,
        logs=chosen.logs or plan.logs,
        ports=free_ports() if chosen.free_ports else plan.ports,
        redis_database=chosen.redis_database,
    )


async def _migrate(plan: Plan, service: str | None) -> None:
    chosen = [service] if service else _WITH_DATABASE
    await Stack(plan, Servers.from_environment()).migrate(*chosen)
    print(f"current: the databases of {', '.join(chosen)}")


async def _resend(plan: Plan, chosen: argparse.Namespace) -> None:
    options = {"--since": chosen.since, "--until": chosen.until, "--type": chosen.type}
    arguments = [part for name, value in options.items() if value for part in (name, value)]
    stack = Stack(plan, Servers.from_environment())
    events = load_topology().events.values()
    for service in sorted({event.producer for event in events if chosen.type in (None, event.name)}):
        await stack.resend(service, arguments)


async def _run_until_interrupted(plan: Plan, folder: Folder, chosen: argparse.Namespace) -> None:
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    terminal = Terminal(sys.stdout, tuple(SERVICES), coloured=wants_colour(sys.stdout, os.environ))
    shop = LocalShop(plan, folder, terminal, [service for service in SERVICES if service not in chosen.without])
    await run_unless_set(interrupted, shop.run(fresh=chosen.fresh))


class LocalShop:
    def __init__(self, plan: Plan, folder: Folder, terminal: Terminal, services: Sequence[str]) -> None:
        self._plan = plan
        self._folder = folder
        self._terminal = terminal
        self._services = services
        self._stack = Stack(plan, Servers.from_environment(), terminal.on_line)
        self._supervisor = Supervisor(self._stack, services, terminal.say)

    async def run(self, *, fresh: bool) -> None:
        """Runs until it is cancelled, then stops all services. Raises StackError."""
        began = time.monotonic()
        check_free({service: self._plan.ports[service] for service in self._services})
        self._begin_logs()
        self._folder.write_environments(self._stack)
        try:
            await self._start(fresh=fresh)
            self._terminal.show(self._banner(time.monotonic() - began))
            async for change in changes(_ROOT, self._services):
                self._supervisor.handle_change(change)
        finally:
            self._terminal.show("\n  Stopping …\n")
            await self._stop()
            self._terminal.show("\n  All services have stopped.\n")

    def _begin_logs(self) -> None:
        self._plan.logs.mkdir(parents=True, exist_ok=True)
        for service in SERVICES:
            self._stack.log_of(service).unlink(missing_ok=True)

    async def _start(self, *, fresh: bool) -> None:
        """Migrates the databases, then starts the services, then the gateway."""
        self._terminal.show(
            f"\n  Migrating {len(_WITH_DATABASE)} databases, then starting {', '.join(self._services)}\n"
        )
        if fresh:
            await self._stack.remove()
        await asyncio.gather(self._stack.migrate(), self._stack.prepare())
        await self._supervisor.start(*(service for service in self._services if service != "gateway"))
        await self._supervisor.start(*(service for service in self._services if service == "gateway"))

    async def _stop(self) -> None:
        await self._supervisor.stop()
        await self._stack.stop("gateway")
        await self._stack.stop()

    def _banner(self, seconds: float) -> str:
        missing = sorted(set(self._services) - self._supervisor.running())
        title = "The shop runs" if not missing else f"Not all of the shop runs: see above for {', '.join(missing)}"
        left_out = [service for service in SERVICES if service not in self._services]
        rows = {
            "gateway": f"{self._stack.url}/api/v1",
            "swagger": f"{self._stack.url}/swagger/",
            "services": self._addresses(),
            "admin": f"{self._plan.admin_email}, password in {_shown(self._folder.secrets)}",
            "logs": f"{_shown(self._plan.logs)}/<service>.log",
        }
        if left_out:
            rows["left out"] = ", ".join(f"{name}: {_shown(self._folder.environment_of(name))}" for name in left_out)
        return "\n".join(
            [
                "",
                f"  {self._terminal.strong(title)} {self._terminal.faint(f'after {seconds:.0f} s')}",
                "",
                *(f"    {self._terminal.faint(f'{name:9}')} {value}" for name, value in rows.items()),
                "",
                "  What you change restarts by itself. Ctrl-C stops all; the data stays.",
                "",
            ]
        )

    def _addresses(self) -> str:
        ports = {service: self._plan.ports[service].http for service in self._services if service != "gateway"}
        return ", ".join(f"{service} {port}" for service, port in sorted(ports.items(), key=lambda row: row[1]))


def _shown(path: Path) -> str:
    """Returns the path relative to the working directory, if it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def check_free(ports_of: Mapping[str, Ports]) -> None:
    """Raises StackError that names the first port which is in use."""
    for service, ports in ports_of.items():
        for port in (ports.http, ports.grpc, ports.metrics):
            if not _is_free(port):
                raise StackError(
                    f"port {port} of {service} is in use: stop what listens there, such as another `make run-all`,"
                    " or the cluster with `make down`"
                )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    main()
