"""What processes use, as Linux counts it in /proc."""

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_PARENT, _USER_TIME, _CHILDREN_SYSTEM_TIME = 1, 11, 14
"""The positions after the command's name, see proc_pid_stat(5): the parent's id, and the first and the last of the four
times (user and system, of the process and of the children that it has waited for).
"""


def descendants(process: int) -> set[int]:
    """Returns the ids of all processes below this one."""
    children: dict[int, list[int]] = defaultdict(list)
    for found, fields in _all_stats():
        children[int(fields[_PARENT])].append(found)
    below: set[int] = set()
    unseen = [process]
    while unseen:
        unseen += children[unseen.pop()]
        below |= set(unseen)
    return below


def processor_seconds(processes: Iterable[int]) -> float:
    """Returns the processor time that the processes have used, with the children that have ended."""
    ticks = 0
    for process in processes:
        fields = _stat(process)
        if fields:
            ticks += sum(map(int, fields[_USER_TIME : _CHILDREN_SYSTEM_TIME + 1]))
    return ticks / _TICKS


def running_seconds(process: int) -> float:
    """Returns the processor time of the threads of a process, to the nanosecond; 0 if it has ended."""
    nanoseconds = 0
    for thread in (_PROC / str(process) / "task").glob("*/schedstat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            nanoseconds += int(thread.read_text().split()[0])
    return nanoseconds / 1e9


def title(process: int) -> str:
    """Returns the command of a process, which PostgreSQL sets to what the process is for; empty if it has ended."""
    try:
        return (_PROC / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def resident_bytes(processes: Iterable[int]) -> int:
    """Returns the resident memory of the processes together; a page that several share counts once among them (PSS)."""
    return sum(_proportional_set_size(process) for process in processes)


def _all_stats() -> Iterable[tuple[int, list[str]]]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            yield int(entry.name), fields


def _stat(process: int) -> list[str]:
    """Returns the fields after the command's name, or none if the process has ended."""
    try:
        return (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _proportional_set_size(process: int) -> int:
    try:
        lines = (_PROC / str(process) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
