"""The Kubernetes client: how it reads the API server's answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from http_api_server import HttpApiServer
from operator_harness import write_kubeconfig

from platform_operator.api.kinds import LEASE, PLATFORM
from platform_operator.client import KubernetesClient, connect
from platform_operator.errors import ApiError, LeadershipLostError


class FakeConnection:
    """Answers every request with the same bytes."""

    def __init__(self, status: int, text: bytes, headers: dict[str, str] | None = None) -> None:
        self.status, self.text, self.headers = status, text, headers or {}

    async def param_serialize(self, verb: str, path: str, **_: Any) -> tuple[str, str, dict[str, str]]:
        return verb, path, {}

    async def call_api(self, *_: Any, **__: Any) -> FakeConnection:
        return self

    async def read(self) -> bytes:
        return self.text

    def getheader(self, name: str) -> str | None:
        return self.headers.get(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"message": "' + "é".encode() * 200 + b'"}', "é" * 200),
        (b"x" + "é".encode() * 200, "x" + "é" * 99 + "\N{REPLACEMENT CHARACTER}"),
    ],
)
async def test_an_error_message_is_decoded_and_truncated(text: bytes, message: str) -> None:
    connection: Any = FakeConnection(503, text)
    with pytest.raises(ApiError) as raised:
        await KubernetesClient(connection).list(PLATFORM, None)
    assert (raised.value.status, str(raised.value)) == (503, message)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0), ("", 0.0)])
async def test_an_error_says_how_long_the_api_server_asks_to_wait(header: str, seconds: float) -> None:
    connection: Any = FakeConnection(429, b"{}", {"Retry-After": header} if header else {})
    with pytest.raises(ApiError) as raised:
        await KubernetesClient(connection).list(PLATFORM, None)
    assert raised.value.retry_after == seconds


@pytest.mark.parametrize("text", [b"<h1>Welcome</h1>", b"[]", b""])
async def test_an_answer_that_is_no_object_is_no_answer(text: bytes) -> None:
    connection: Any = FakeConnection(200, text)
    with pytest.raises(ApiError, match="is no object") as raised:
        await KubernetesClient(connection).list(PLATFORM, None)
    assert raised.value.status == 0


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b'{"metadata": {}, "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}', {"a", "b"}),
        (b'{"metadata": {}, "items": null}', set()),
        (b'{"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]}', None),
    ],
)
async def test_names_are_those_of_a_whole_list_or_none(text: bytes, names: set[str] | None) -> None:
    connection: Any = FakeConnection(200, text)
    assert await KubernetesClient(connection).names(PLATFORM, "shop") == names


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "api.example.com"}, None),
        ({}, None),
    ],
)
async def test_the_api_server_is_reached_by_the_proxy_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], proxy: str | None
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cluster = {"name": "c", "cluster": {"server": "https://api.example.com"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {"clusters": [cluster], "contexts": [context], "users": [{"name": "u", "user": {}}]}
    (tmp_path / "config").write_text(yaml.safe_dump({"current-context": "c"} | config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    async with await connect() as connection:
        assert connection.rest_client.proxy == proxy


async def test_the_cause_of_a_refusal_says_that_the_namespace_is_being_deleted() -> None:
    cause = {"reason": "NamespaceTerminating", "message": "namespace shop is being terminated", "field": ""}
    for details, expected in (({"causes": [cause]}, True), ({"causes": None}, False), (None, False)):
        text = json.dumps({"reason": "Forbidden", "message": "forbidden", "details": details}).encode()
        connection: Any = FakeConnection(403, text)
        with pytest.raises(ApiError) as raised:
            await KubernetesClient(connection).create(PLATFORM, "shop", {"metadata": {"name": "a"}})
        assert raised.value.namespace_terminating is expected


async def test_a_write_that_waits_for_a_connection_is_not_sent_after_the_lease_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    lost = asyncio.Event()

    def require_leadership() -> None:
        if lost.is_set():
            raise LeadershipLostError

    server = HttpApiServer()
    async with server.serving() as address:
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", address, "operator")))
        async with await connect(require_leadership) as connection:
            client = KubernetesClient(connection)
            write = asyncio.create_task(client.create(LEASE, "shop", {"metadata": {"name": "a"}}))
            await asyncio.sleep(0)  # it waits for its connection
            lost.set()
            with pytest.raises(LeadershipLostError):
                await write
            assert await client.list(LEASE, "shop") == ([], server.version), "reads need no leadership"
    assert [request.verb for request in server.requests] == ["GET"]
