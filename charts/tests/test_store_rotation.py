"""Running stores take over the passwords of their Secrets: the scripts of their pods run here, on the test servers."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
from chassis_testing.environment import environment_variable
from redis import AuthenticationError, Redis

Render: TypeAlias = Callable[..., list[dict[str, Any]]]

REDIS = {"existingSecret": "shop-redis", "global.tls.plainStores[0]": "redis"}


def script_of(render: Render, chart: str, values: dict[str, str]) -> str:
    """Returns the script that the container of a store runs."""
    arguments = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    (store,) = [one for one in render(chart, *arguments) if one["kind"] == "StatefulSet"]
    script: str = store["spec"]["template"]["spec"]["containers"][0]["args"][0]
    return script


class Minutes:
    """Lets a script look at its files again: it waits for one pipe, and writes to another when it has looked."""

    def __init__(self, folder: Path) -> None:
        self._begins, self._ends = folder / "begins", folder / "ends"
        os.mkfifo(self._begins)
        os.mkfifo(self._ends)

    def in_script(self, script: str) -> str:
        script = script.replace("sleep 60", f"read _ <{self._begins}")
        return script.replace("then used=$new; fi", f"then used=$new; fi; echo >{self._ends}")

    def pass_one(self) -> None:
        """Returns when the script has looked at its files."""
        self._begins.write_text("\n")
        self._ends.read_text()


@contextmanager
def running(script: str, folder: Path, commands: dict[str, str]) -> Iterator[None]:
    """Runs a script with commands of its own in the place of the store's."""
    for name, source in commands.items():
        (folder / name).write_text(f"#!{sys.executable}\n{source}")
        (folder / name).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    command = ["bash", "-euc", script]
    with subprocess.Popen(command, env=os.environ | {"PATH": path}, start_new_session=True) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, 9)


# Redis.


SERVER = """
import os, sys
from redis import Redis
_, rules = open(sys.argv[1]).read().split("default ", 1)
Redis.from_url(os.environ["TEST_REDIS_URL"]).execute_command("ACL", "SETUSER", os.environ["ACL_USER"], *rules.split())
open(os.environ["STARTED"], "w").close()
sys.stdin.read()
"""
CLIENT = """
import os, sys
from redis import Redis
user = os.environ["ACL_USER"]
words = [user if word == "default" else word for word in sys.stdin.read().split()]
client = Redis.from_url(os.environ["TEST_REDIS_URL"], username=user, password=os.environ["REDISCLI_AUTH"])
print(client.execute_command(*words).decode())
"""


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a user of the test server, which stands for `default` in a server of its own."""
    name, server = f"rotated-{uuid4().hex[:8]}", environment_variable("TEST_REDIS_URL")
    monkeypatch.setenv("ACL_USER", name)
    yield name
    Redis.from_url(server).acl_deluser(name)


def test_a_running_redis_accepts_the_passwords_of_its_secret_and_no_other(
    render: Render, tmp_path: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, started = tmp_path / "credentials", tmp_path / "started"
    secret.mkdir()
    os.mkfifo(started)
    monkeypatch.setenv("STARTED", str(started))
    minutes = Minutes(tmp_path)
    script = script_of(render, "redis", REDIS).replace("/tmp/", f"{tmp_path}/")
    script = minutes.in_script(script.replace("/credentials/", f"{secret}/"))

    def accepted() -> set[str]:
        return {password for password in ("first", "second", "third") if _can_log_in(user, password)}

    (secret / "REDIS_PASSWORD").write_text("first")
    with running(script, tmp_path, {"redis-server": SERVER, "redis-cli": CLIENT}):
        started.read_text()
        assert accepted() == {"first"}
        for name, used, other in (
            ("NEXT", "first", "second"),
            ("PREVIOUS", "second", "first"),
            ("", "second", ""),
            ("NEXT", "second", "third"),
        ):
            for file in secret.iterdir():
                file.unlink()
            (secret / "REDIS_PASSWORD").write_text(used)
            if name:
                (secret / f"REDIS_PASSWORD_{name}").write_text(other)
            minutes.pass_one()
            assert accepted() == {used, other} - {""}


def _can_log_in(user: str, password: str) -> bool:
    try:
        return bool(Redis.from_url(environment_variable("TEST_REDIS_URL"), username=user, password=password).ping())
    except AuthenticationError:
        return False
