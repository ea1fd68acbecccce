"""The benchmark of refusals makes a gateway refuse orders, and measures what that costs."""

import re

import pytest
from shop_e2e.bench import refusal_cost


def test_the_cost_of_a_refusal_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    refusal_cost.main(["--rounds", "1", "--refusals", "128"])

    assert re.search(r"^now: \d+\.\d{3} ms of processor time per refusal", capsys.readouterr().out, re.MULTILINE)
