"""The command line: `python -m platform_operator run|crd|policy`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parse(arguments)
    return _crd(parsed.kind) if parsed.command == "crd" else {"run": _run, "policy": _policy}[parsed.command]()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("platform_operator", description="The operator of EcommercePlatforms.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the operator; its settings are environment variables, see settings.py")
    crd = commands.add_parser("crd", help="print a CustomResourceDefinition")
    crd.add_argument("kind", nargs="?", default="EcommercePlatform", help="its kind; default: EcommercePlatform")
    commands.add_parser("policy", help="print the ValidatingAdmissionPolicy for the shops of tenants")
    return parser.parse_args(arguments)


def _run() -> int:
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    from platform_operator import logs
    from platform_operator.app import run
    from platform_operator.errors import OperatorError
    from platform_operator.heap import freeze_heap, keep_collections_short
    from platform_operator.settings import Settings

    try:
        settings = Settings.from_environment()
        logs.configure(settings.log_level)
        freeze_heap()
        keep_collections_short()
        asyncio.run(run(settings))
    except OperatorError as error:
        print(f"platform_operator: {error}", file=sys.stderr)
        return 1
    return 0


def _exit_on_sigterm(*_: object) -> None:
    """Ends a process that gets SIGTERM while it starts: the kernel has no default for process 1 of a container."""
    sys.exit(128 + signal.SIGTERM)


def _crd(kind: str) -> int:
    from platform_operator.api.crd_generator import CRDS, crd_yaml

    if kind not in CRDS:
        print(f"platform_operator: there is no kind {kind}: use {', '.join(CRDS)}", file=sys.stderr)
        return 2
    print(crd_yaml(kind), end="")
    return 0


def _policy() -> int:
    from platform_operator.api.admission import HEADER, chart_policies
    from platform_operator.api.crd_generator import plain_yaml

    print(HEADER + plain_yaml(chart_policies()), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
