"""Shell completion: `kubectl_complete-ecommerce`, which kubectl runs with the words of the command line.

The protocol is cobra's: a completion on each line, a description after a tab, and a directive at the end.
"""

from __future__ import annotations

import sys
from argparse import Action, ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import cast

from kubectl_ecommerce.cli import kubectl_for, parser
from kubectl_ecommerce.commands import COMMANDS
from kubectl_ecommerce.errors import PluginError

FILES = 0
"""cobra's ShellCompDirectiveDefault: the shell completes names of files."""
NO_FILES = 4
"""cobra's ShellCompDirectiveNoFileComp."""
_NAMES = "jsonpath={range .items[*]}{.metadata.name}{'\\n'}{end}"


def print_completions(words: Sequence[str]) -> None:
    """Prints the completions of the last word."""
    found, directive = complete(words or [""])
    sys.stdout.write("".join(f"{word}\n" for word in found) + f":{directive}\n")


def complete(words: Sequence[str]) -> tuple[list[str], int]:
    """Returns the completions of the last word, and the directive for the shell."""
    *before, last = words
    parsers = _command_parsers()
    name = next((word for word in before if word in parsers), None)
    actions = _actions(parsers[name] if name else parser())
    option = next((one for one in actions if before and before[-1] in one.option_strings and one.nargs != 0), None)
    if option is not None:
        return _starting(last, _values(option, before)), FILES if option.dest == "kubeconfig" else NO_FILES
    if last.startswith("-"):
        return _starting(last, (flag for one in actions for flag in one.option_strings)), NO_FILES
    if name is None:
        return _starting(last, (f"{one.name}\t{one.summary}" for one in COMMANDS)), NO_FILES
    choices = [str(choice) for one in actions if not one.option_strings for choice in one.choices or ()]
    resource = next(one.resource for one in COMMANDS if one.name == name)
    return _starting(last, choices if choices and before[-1] == name else _names(before, resource)), NO_FILES


def _starting(prefix: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(prefix)]


def _command_parsers() -> dict[str, ArgumentParser]:
    (commands,) = (one for one in _actions(parser()) if isinstance(one.choices, dict))
    return cast(dict[str, ArgumentParser], commands.choices)


def _actions(scope: ArgumentParser) -> Sequence[Action]:
    return scope._actions  # noqa: SLF001  argparse has no public list of them


def _values(option: Action, before: Sequence[str]) -> Iterable[str]:
    if option.dest == "namespace":
        return _lines(before, "get", "namespaces", "--output", _NAMES)
    if option.dest == "context":
        return _lines(before, "config", "get-contexts", "--output", "name")
    return [str(choice) for choice in option.choices or ()]


def _names(before: Sequence[str], resource: str) -> Iterable[str]:
    namespace = _given(before, "-n", "--namespace")
    scope = ("--namespace", namespace) if namespace else ()
    return _lines(before, "get", resource, *scope, "--output", _NAMES)


def _lines(before: Sequence[str], *arguments: str) -> Iterator[str]:
    """Yields nothing if the cluster does not answer: a shell has no place for an error."""
    kubectl = kubectl_for(_given(before, "--context"), _given(before, "--kubeconfig"))
    try:
        yield from kubectl.run(*arguments, "--request-timeout", "2s").split()
    except PluginError:
        return


def _given(words: Sequence[str], *flags: str) -> str | None:
    """Returns the value of a flag among words that may not be complete yet."""
    for word, following in pairwise(words):
        if word in flags:
            return following
    prefixes = tuple(f"{flag}=" for flag in flags)
    return next((word.partition("=")[2] for word in words if word.startswith(prefixes)), None)
