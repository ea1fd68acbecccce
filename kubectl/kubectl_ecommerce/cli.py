"""The command line: builds its parser from the commands, runs one of them, and prints what it reports."""

from __future__ import annotations

import json
import os
import shutil
import sys
from argparse import SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from textwrap import fill
from typing import Any, TextIO

from kubectl_ecommerce.commands import COMMANDS
from kubectl_ecommerce.commands.command import Command, Report, Session
from kubectl_ecommerce.errors import InterruptedCommandError, PluginError
from kubectl_ecommerce.kubectl import SHOPS, TENANTS, Kubectl
from kubectl_ecommerce.output import Style, is_printable
from kubectl_ecommerce.streams import FAILED, INTERRUPTED, write_message

PROGRAM = "kubectl ecommerce"
_SUBJECTS = {SHOPS: ("shop", "the only one of the namespace"), TENANTS: ("tenant", "all")}
"""The last argument of a command by its resource, and what is meant without it."""


def run(arguments: Sequence[str] | None = None, now: datetime | None = None) -> int:
    """Runs the command that the arguments name. Returns the exit code."""
    parsed = parser().parse_args(arguments)
    command: Command = parsed.command
    session = Session(kubectl_for(parsed.context, parsed.kubeconfig), parsed, now or datetime.now(UTC))
    try:
        sys.stdout.write(_printed(command.run(session), parsed.output))
    except PluginError as error:
        write_message(f"kubectl-ecommerce: {error}")
        return INTERRUPTED if isinstance(error, InterruptedCommandError) else FAILED
    except KeyboardInterrupt:
        write_message(f"kubectl-ecommerce: interrupted: {_what_goes_on(command)}")
        return INTERRUPTED
    return 0


def _what_goes_on(command: Command) -> str:
    if command.changes:
        return f"the change may be made all the same: see {PROGRAM} status"
    return "nothing was changed"


def kubectl_for(context: str | None, kubeconfig: str | None) -> Kubectl:
    """Returns kubectl with the flags that choose the cluster."""
    values = (("--context", context), ("--kubeconfig", kubeconfig))
    return Kubectl(tuple(part for flag, value in values if value for part in (flag, value)))


def _printed(report: Report, output: str | None) -> str:
    style = style_of(sys.stdout, os.environ)
    if output == "json":
        return json.dumps(report.data, indent=2) + "\n"
    if output == "yaml":
        import yaml  # only here: it takes as long as the rest of the plugin to load

        text = str(yaml.safe_dump(dict(report.data), sort_keys=False, allow_unicode=True))
        if is_printable(text) and style.unicode:
            return text
        return str(yaml.safe_dump(dict(report.data), sort_keys=False))
    return report.render(style)


def style_of(stream: TextIO, environment: Mapping[str, str]) -> Style:
    """Returns what a stream can show: colours on a terminal, unless NO_COLOR (https://no-color.org) is set."""
    terminal = stream.isatty()
    plain = bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"
    return Style(
        colour=terminal and not plain,
        unicode=(stream.encoding or "").lower().replace("-", "") == "utf8",
        width=shutil.get_terminal_size().columns if terminal else None,
    )


def parser() -> ArgumentParser:
    """Returns the parser of all commands."""
    top = ArgumentParser(
        PROGRAM,
        description="Reads, explains and changes the shops of a cluster.",
        epilog=f"`{PROGRAM} COMMAND --help` shows examples.",
        parents=[_cluster_flags(None)],
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        _add(commands, command)
    return top


def _add(commands: Any, command: Command) -> None:
    examples = "\n".join(f"  {PROGRAM} {example}" for example in command.examples)
    parser = commands.add_parser(
        command.name,
        help=command.summary,
        description=fill(command.description, 100),
        epilog=f"examples:\n{examples}",
        formatter_class=RawDescriptionHelpFormatter,
        parents=[_cluster_flags(SUPPRESS)],
    )
    parser.set_defaults(command=command)
    command.add_arguments(parser)
    subject, omitted = _SUBJECTS[command.resource]
    parser.add_argument(subject, nargs="?", metavar=subject.upper(), help=f"name of the {subject} [{omitted}]")
    if command.changes:
        parser.add_argument(
            "--dry-run", action="store_true", help="let the API server check the change, and store nothing"
        )
    parser.add_argument("-o", "--output", choices=("json", "yaml"), help="print data for scripts")


def _cluster_flags(default: str | None) -> ArgumentParser:
    """Returns the flags that may stand before and after the command. After it, they have no default that would replace
    what stands before."""
    flags = ArgumentParser(add_help=False, argument_default=default)
    flags.add_argument("-n", "--namespace", help="namespace of the shop [that of the context]")
    flags.add_argument("--context", help="context of the kubeconfig")
    flags.add_argument("--kubeconfig", help="path of the kubeconfig")
    return flags
