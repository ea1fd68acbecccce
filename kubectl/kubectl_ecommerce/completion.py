"""Shell completion: `kubectl_complete-ecommerce`, which kubectl runs with the words of the command line.

The protocol is cobra's: a completion on each line, a description after a tab, and a directive at the end.
"""

from __future__ import annotations

import sys
from argparse import Action, ArgumentParser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import cast

from kubectl_ecommerce.cli import kubectl_for, parser
from kubectl_ecommerce.commands import COMMANDS
from kubectl_ecommerce.errors import PluginError
from kubectl_ecommerce.streams import INTERRUPTED

FILES = 0
"""cobra's ShellCompDirectiveDefault: the shell completes names of files."""
NO_FILES = 4
"""cobra's ShellCompDirectiveNoFileComp."""
_NAMES = "jsonpath={range .items[*]}{.metadata.name}{'\\n'}{end}"


def print_completions(words: Sequence[str]) -> int:
    """Prints the completions of the last word. Returns the exit code."""
    try:
        found, directive = complete(words or [""])
    except KeyboardInterrupt:
        return INTERRUPTED
    sys.stdout.write("".join(f"{word}\n" for word in found) + f":{directive}\n")
    return 0


def complete(words: Sequence[str]) -> tuple[list[str], int]:
    """Returns the completions of the last word, and the directive for the shell."""
    *before, last = words
    parsers = _command_parsers()
    positionals = _positionals(before, parsers)
    name = next((word for word in positionals[:1] if word in parsers), None)
    actions = _actions(parsers[name] if name else parser())
    option = _option(before[-1], actions) if before else None
    if option is not None:
        return _starting(last, _values(option, before)), FILES if option.dest == "kubeconfig" else NO_FILES
    if last.startswith("-"):
        return _starting(last, (flag for one in actions for flag in one.option_strings)), NO_FILES
    if name is None:
        return _starting(last, (f"{one.name}\t{one.summary}" for one in COMMANDS)), NO_FILES
    choices = [str(choice) for one in actions if not one.option_strings for choice in one.choices or ()]
    resource = next(one.resource for one in COMMANDS if one.name == name)
    return _starting(last, choices if choices and len(positionals) == 1 else _names(before, resource)), NO_FILES


def _positionals(words: Sequence[str], parsers: Mapping[str, ArgumentParser]) -> list[str]:
    """Returns the words that are neither a flag nor the value of one: the command and what follows it."""
    found: list[str] = []
    actions, is_value = _actions(parser()), False
    for word in words:
        if is_value or word.startswith("-"):
            is_value = not is_value and _option(word, actions) is not None
            continue
        found.append(word)
        if len(found) == 1 and word in parsers:
            actions = _actions(parsers[word])
    return found


def _option(word: str, actions: Iterable[Action]) -> Action | None:
    """Returns the option with a value that a word is."""
    return next((one for one in actions if word in one.option_strings and one.nargs != 0), None)


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
