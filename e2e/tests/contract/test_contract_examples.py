"""The examples of docs/api/README.md run as they are written and are answered as shown."""

import asyncio
import json
import re
import sys
from dataclasses import dataclass, replace
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

from devtools.doc_checks import examples, run, stands_for
from devtools.shop_client import Person, Shop
from devtools.stack import Stack

_DOCUMENT = Path(__file__).parents[3] / "docs/api/README.md"
_PROGRAM = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LOCAL = "http://localhost:8080"
_TOLD_BY_VALUE = ("code", "status")


@dataclass(frozen=True, slots=True)
class Answer:
    status: str
    """The number only: the reason phrase depends on the version of Python."""
    headers: Message
    body: Any

    @classmethod
    def parse(cls, text: str) -> "Answer":
        """Parses the output of `curl -i`."""
        head, _, body = text.replace("\r\n", "\n").strip().partition("\n\n")
        status, _, headers = head.partition("\n")
        return cls(status.split()[1], Parser().parsestr(headers), json.loads(body))


async def test_every_example_is_answered_as_documented(stack: Stack, shop: Shop, admin: Person) -> None:
    await shop.stocked_product(admin, 10)
    await shop.stocked_product(admin, 10)
    requests = examples(_DOCUMENT)

    answers = await run([replace(one, script=one.script.replace(_LOCAL, stack.url)) for one in requests])

    assert len(answers) > 5
    for request, answer in zip(requests, answers, strict=True):
        differing = differences(Answer.parse(request.shown), Answer.parse(answer))
        assert differing == [], f"{request.script}\nis answered otherwise than shown:\n{answer}"


async def test_the_program_prints_what_is_documented(stack: Stack, shop: Shop, admin: Person) -> None:
    await shop.stocked_product(admin, 10)
    ((program, shown),) = _PROGRAM.findall(_DOCUMENT.read_text())

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program.replace(_LOCAL, stack.url)), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()

    assert (process.returncode, printed.decode()) == (0, shown)


def test_every_block_of_code_is_followed_by_its_answer() -> None:
    text = _DOCUMENT.read_text()
    assert [one.script for one in examples(_DOCUMENT) if not one.shown] == []
    assert len(_PROGRAM.findall(text)) == text.count("```python\n")


def differences(shown: Answer, got: Answer) -> list[str]:
    """Returns what is shown and does not hold. A document may show example values, write `…` in a header, and leave
    members out.
    """
    status = [] if shown.status == got.status else [f"status: {got.status}"]
    headers = [
        f"header {name}: {got.headers[name]}"
        for name, value in shown.headers.items()
        if not stands_for(value, got.headers[name] or "")
    ]
    return status + headers + _unlike(shown.body, got.body, "body")


def _unlike(shown: Any, got: Any, where: str) -> list[str]:
    match shown, got:
        case dict(), dict():
            missing = [f"{where}.{name} is missing" for name in shown.keys() - got.keys()]
            return missing + [
                wrong
                for name in shown.keys() & got.keys()
                for wrong in _unlike(shown[name], got[name], f"{where}.{name}")
            ]
        case [first, *_], [found, *_]:
            return _unlike(first, found, f"{where}[0]")
        case [_, *_], []:
            return [f"{where} is empty"]
        case _ if where.rpartition(".")[2] in _TOLD_BY_VALUE:
            return [] if shown == got else [f"{where} is {got!r}"]
        case ((int() | float()), (int() | float())):
            return []
        case _:
            return [] if type(shown) is type(got) else [f"{where} is {got!r}"]
