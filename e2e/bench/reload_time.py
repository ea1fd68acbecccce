#!/usr/bin/env python3
"""Measures how long `make dev` takes to serve a changed handler: from saving the file to the new answer on the cluster.

It starts the skaffold of `make dev`, changes a handler of the product service several times, and polls the gateway
until the answer has changed. At the end the file is restored and skaffold has removed its shop.
"""

import argparse
import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

TARGET_SECONDS = 5.0
TIMEOUT_SECONDS = 60
STOP_SECONDS = 180
ROOT = Path(__file__).resolve().parents[2]
HANDLER = ROOT / "services/product/product_service/handlers/http/categories.py"
BEFORE = "page, total = await categories.list_trees(paging.offset, paging.limit)"
AFTER = "page, total = (await categories.list_trees(paging.offset, paging.limit))[0], {total}"
URL = "http://localhost:18080/api/v1/categories"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="changes to time [%(default)s]")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds for the shop to come up [%(default)s]")
    chosen = parser.parse_args()
    log = Path(tempfile.mkdtemp(prefix="reload-time-")) / "skaffold.log"
    print(f"starting skaffold dev; its log is {log}", flush=True)
    with skaffold(log, chosen.timeout), unchanged(HANDLER) as original:
        times = [timed(original, number, chosen.rounds) for number in range(1, chosen.rounds + 1)]
    print(f"\nmedian {statistics.median(times):.1f} s, slowest {max(times):.1f} s (target {TARGET_SECONDS:.0f} s)")


@contextlib.contextmanager
def skaffold(log: Path, timeout: int) -> Iterator[None]:
    """Runs `skaffold dev` until the block ends, then interrupts it as Ctrl-C does."""
    watching = threading.Event()
    with subprocess.Popen(
        [ROOT / "hack/cluster/dev", "--tail=false"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        threading.Thread(target=follow, args=(process, log, watching), daemon=True).start()
        try:
            if not watching.wait(timeout) or process.poll() is not None:
                sys.exit(f"skaffold dev does not watch for changes: read {log}")
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_SECONDS)


def follow(process: subprocess.Popen[str], log: Path, watching: threading.Event) -> None:
    """Keeps the output and signals when skaffold has deployed the shop or has ended."""
    with log.open("w", buffering=1) as kept:
        for line in process.stdout or ():
            kept.write(line)
            if line.startswith("Watching for changes"):
                watching.set()
    process.wait()
    watching.set()


@contextlib.contextmanager
def unchanged(file: Path) -> Iterator[str]:
    """Restores the file's content at the end of the block."""
    original = file.read_text()
    if BEFORE not in original:
        sys.exit(f"{file} no longer has the line that this script changes: {BEFORE}")
    try:
        yield original
    finally:
        file.write_text(original)


def timed(original: str, number: int, rounds: int) -> float:
    """Returns the seconds from a change of the handler to the answer that shows it."""
    total = 1_000_000 + number
    HANDLER.write_text(original.replace(BEFORE, AFTER.format(total=total)))
    began = time.monotonic()
    while answered() != total:
        if time.monotonic() - began > TIMEOUT_SECONDS:
            sys.exit(f"{URL} does not show the change after {TIMEOUT_SECONDS} s")
        time.sleep(0.05)
    seconds = time.monotonic() - began
    print(f"change {number} of {rounds}: {seconds:4.1f} s", flush=True)
    return seconds


def answered() -> int | None:
    """Returns the total that the shop reports; None while the service restarts."""
    try:
        answer = httpx.get(URL, timeout=5)
    except httpx.TransportError:
        return None
    return int(answer.json()["total"]) if answer.is_success else None


if __name__ == "__main__":
    main()
