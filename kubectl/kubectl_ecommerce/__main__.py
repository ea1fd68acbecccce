"""The entry point: `kubectl ecommerce`, or `python -m kubectl_ecommerce`. As a program of another name it completes."""

from __future__ import annotations

import sys
from pathlib import Path

from kubectl_ecommerce.cli import run
from kubectl_ecommerce.completion import print_completions
from kubectl_ecommerce.streams import standard_output

COMPLETION = "kubectl_complete-ecommerce"
"""The program that kubectl runs to complete the words of a command line."""


def main() -> None:
    """Runs the plugin, and ends the process with its exit code."""
    program, *arguments = sys.argv
    with standard_output():
        if Path(program).name == COMPLETION:
            sys.exit(print_completions(arguments))
        sys.exit(run(arguments))


if __name__ == "__main__":
    main()
