"""Every line of the log is one JSON object with the same fields, whether a service or a library logs it."""

import json
import subprocess
import sys
from typing import Any


def logged(statements: str, level: str = "INFO") -> list[dict[str, Any]]:
    """Returns the lines that a process logs."""
    script = f"""
import logging, threading
from chassis.observability import logs
logs.configure("order", "shop", "{level}")
log = logs.get_logger("order_service.example")
{statements}
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_lines_of_services_and_of_libraries_have_the_same_fields() -> None:
    own, library = logged("""
log.warning("too late", seconds=3)
logging.getLogger("a_library").warning("too %s", "late")
""")

    assert own.pop("seconds") == 3
    assert own.keys() == library.keys() == {"service", "tenant", "level", "logger", "timestamp", "message"}
    assert (own["logger"], library["logger"]) == ("order_service.example", "a_library")
    assert (own["message"], own["level"]) == (library["message"], library["level"]) == ("too late", "warning")


def test_an_exception_has_its_traceback_in_the_same_line() -> None:
    own, library = logged("""
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
    logging.getLogger("a_library").exception("failed")
""")

    assert own["exception"].endswith("ZeroDivisionError: division by zero")
    assert library["exception"].startswith("Traceback")


def test_a_value_that_json_does_not_know_does_not_lose_the_line() -> None:
    (line,) = logged("log.info('is', value=threading.Event, path=b'\\xff', name='Ł')")

    assert (line["value"], line["name"]) == ("<class 'threading.Event'>", "Ł")


def test_lines_below_the_level_are_left_out() -> None:
    (line,) = logged("log.info('detail'); log.error('fault'); logging.getLogger('a').info('detail')", "WARNING")

    assert line["message"] == "fault"
