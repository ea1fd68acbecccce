"""Free ports: no two processes get the same one."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from chassis_testing import ports

_TAKE_TWO = """
from chassis_testing import ports
ports._PORTS = range(19_990, 19_993)
print(ports.free_port(), ports.free_port(), flush=True)
input()
"""


def test_a_port_is_given_to_one_process_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_PORTS", range(19_990, 19_993))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with subprocess.Popen(
        [sys.executable, "-c", _TAKE_TWO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"TMPDIR": str(tmp_path)},
    ) as other:
        assert other.stdout is not None
        theirs = {int(port) for port in other.stdout.readline().split()}
        assert theirs < set(ports._PORTS)
        assert {ports.free_port()} == set(ports._PORTS) - theirs
        other.communicate("\n")

    assert {ports.free_port(), ports.free_port()} == theirs
