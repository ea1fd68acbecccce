"""The terminal shows the services' lines in readable form."""

import asyncio
import io
import json

import pytest
from devtools.terminal import Terminal, lines_of, readable, wants_colour

SERVED = json.dumps(
    {"http_port": 8083, "message": "serving", "level": "info", "timestamp": "2026-01-02T03:04:05.678Z",
     "service": "order",
     "tenant": "local", "logger": "chassis.process"}
)  # fmt: skip


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(service: str, line: str, *, coloured: bool = False) -> str:
    screen = Screen()
    Terminal(screen, ("order", "inventory"), coloured=coloured).on_line(service, line)
    return screen.getvalue()


def test_a_line_follows_its_services_name_in_a_column() -> None:
    assert shown("order", SERVED) == "order     │ 03:04:05 serving http_port=8083\n"
    assert shown("inventory", "Killed") == "inventory │ Killed\n"


def test_every_line_of_a_traceback_follows_the_name() -> None:
    failed = json.dumps(
        {"message": "unforeseen error", "level": "error", "exception": "Traceback:\n  line 1\nKeyError: 5"}
    )

    assert shown("order", failed).splitlines() == [
        "order     │ ERROR unforeseen error",
        "order     │ Traceback:",
        "order     │   line 1",
        "order     │ KeyError: 5",
    ]


def test_each_service_has_a_colour_of_its_own() -> None:
    order, inventory = (shown(service, "x", coloured=True).split("m")[0] for service in ("order", "inventory"))

    assert order.startswith("\033[")
    assert order != inventory


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", ""),
        ("{", "{"),
        ("[1]", "[1]"),
        ('{"level": "info"}', '{"level": "info"}'),
        ('{"message": "a", "b": "two words", "c": null, "d": [1]}', 'a b="two words" c=null d=[1]'),
    ],
)
def test_all_output_is_shown(line: str, text: str) -> None:
    assert readable(line)[1] == text


@pytest.mark.parametrize(
    ("stream", "environment", "wants"),
    [
        (Screen(), {}, True),
        (Screen(), {"NO_COLOR": ""}, True),
        (Screen(), {"NO_COLOR": "1"}, False),
        (Screen(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colour_is_used_only_on_terminals_that_allow_it(
    stream: io.StringIO, environment: dict[str, str], wants: bool
) -> None:
    assert wants_colour(stream, environment) is wants


async def test_lines_are_complete_however_they_were_written() -> None:
    stream = asyncio.StreamReader()
    for piece in (b"fir", b"st\nsecond\n\xff", b"x" * 200_000, b"\nlast"):
        stream.feed_data(piece)
    stream.feed_eof()

    assert [line async for line in lines_of(stream)] == ["first", "second", "\ufffd" + "x" * 200_000, "last"]
