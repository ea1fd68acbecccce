"""The fields of a log line are those that docs/operations.md says, and no other."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from shop_e2e.metrics import DOCUMENT, ROOT

_SAYING = """
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
def test_every_line_has_the_fields_that_are_said_of_every_line(where: str) -> None:
    assert _line(where) == _documented("Every line has:")


def test_a_line_of_a_request_has_those_that_lead_to_its_trace() -> None:
    added = _line("in a request") - _line("alone")
    assert added == {"request_id", "trace_id", "span_id", "exception"}
    assert added <= _documented("and, where there is one:")


def test_what_the_services_say_is_said_in_fields_that_are_documented() -> None:
    always_known = _line("in a request")
    assert _documented("and, where there is one:") - always_known == set(_said()) - always_known


def _line(where: str) -> set[str]:
    """The fields of a line that a service's process writes."""
    done = subprocess.run([sys.executable, "-c", _SAYING, where], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def _documented(heading: str) -> set[str]:
    """The fields that the first table after a heading has in its first column."""
    _, _, after = DOCUMENT.read_text().partition(f"{heading}\n\n")
    table, _, _ = after.partition("\n\n")
    return {field for row in table.splitlines()[2:] for field in re.findall(r"`(\w+)`", row.split("|")[1])}


def _said() -> Iterator[str]:
    """The keywords of every call of a service's `log`."""
    for module in ROOT.glob("services/*/*/**/*.py"):
        if "tests" in module.parts:
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log")), keywords=keywords):
                    yield from (_FIELDS.get(keyword.arg or "", keyword.arg or "") for keyword in keywords)


_FIELDS = {"exc_info": "exception"}
