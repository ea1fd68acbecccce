"""The fields of log lines are exactly those of docs/operations.md."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from devtools.metrics_reference import DOCUMENT, ROOT

_REVIEW_SHARE = """
import sys, threading
from chassis.observability import logs, tracing
logs.configure("order", "shop", "INFO")
log = logs.get_logger("order_service")
if sys.argv[1] == "alone":
    log.info("serving")
elif sys.argv[1] == "in a thread":
    threading.Thread(target=log.info, args=("serving",)).start()
else:
    tracing.configure("order", "1", "shop", None)
    with tracing.continue_trace("request", tracing.SpanKind.SERVER, {tracing.REQUEST_ID: "r-1"}):
        try:
            raise RuntimeError
        except RuntimeError:
            log.exception("unforeseen error")
"""


@pytest.mark.parametrize("where", ["alone", "in a thread"])
def test_every_log_line_has_the_common_fields(where: str) -> None:
    assert _line(where) == _documented("Every line has:")


def test_a_log_line_of_a_request_has_its_request_and_trace_ids() -> None:
    added = _line("in a request") - _line("alone")
    assert added == {"request_id", "trace_id", "span_id", "exception"}
    assert added <= _documented("and, where there is one:")


def test_services_log_exactly_the_documented_fields() -> None:
    always_known = _line("in a request")
    assert _documented("and, where there is one:") - always_known == set(_logged_fields()) - always_known


def _line(where: str) -> set[str]:
    """Returns the fields of a line that a service's process writes."""
    done = subprocess.run([sys.executable, "-c", _REVIEW_SHARE, where], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def _documented(heading: str) -> set[str]:
    """Returns the fields in the first column of the first table after a heading."""
    _, _, after = DOCUMENT.read_text().partition(f"{heading}\n\n")
    table, _, _ = after.partition("\n\n")
    return {field for row in table.splitlines()[2:] for field in re.findall(r"`(\w+)`", row.split("|")[1])}


def _logged_fields() -> Iterator[str]:
    """Yields the keyword arguments of every call of a service's `log`."""
    for module in ROOT.glob("services/*/*/**/*.py"):
        if "tests" in module.parts:
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log")), keywords=keywords):
                    yield from (_FIELDS.get(keyword.arg or "", keyword.arg or "") for keyword in keywords)


_FIELDS = {"exc_info": "exception"}
