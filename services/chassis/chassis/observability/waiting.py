"""How long rows have waited for a neighbour's answer, for the gauges of loops that ask a neighbour."""

from collections.abc import Container, Mapping
from datetime import datetime
from typing import TypeVar

_Key = TypeVar("_Key")


def longest_wait(asked: Mapping[_Key, datetime], answered: Container[_Key], at: datetime) -> float:
    """Returns for how many seconds the oldest row without an answer has waited; 0 if all are answered.

    `asked` has the time since which each row waits.
    """
    waiting = [at - since for key, since in asked.items() if key not in answered]
    return max(waiting).total_seconds() if waiting else 0.0
