"""The command line: `python -m platform_operator run|crd`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    return {"run": _run, "crd": _crd}[_parse(arguments).command]()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("platform_operator", description="The operator of EcommercePlatforms.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the operator; its settings are environment variables, see settings.py")
    commands.add_parser("crd", help="print the CustomResourceDefinition")
    return parser.parse_args(arguments)


def _run() -> int:
    from platform_operator import logs
    from platform_operator.app import run
    from platform_operator.errors import OperatorError
    from platform_operator.settings import Settings

    try:
        settings = Settings.from_environment()
        logs.configure(settings.log_level)
        asyncio.run(run(settings))
    except OperatorError as error:
        print(f"platform_operator: {error}", file=sys.stderr)
        return 1
    return 0


def _crd() -> int:
    from platform_operator.api.crd_generator import crd_yaml

    print(crd_yaml(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
