"""The operator's HTTP server."""

from __future__ import annotations

import threading

import aiohttp
import pytest

from platform_operator import http_server


async def test_metrics_of_many_shops_are_written_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def generate() -> bytes:
        threads.append(threading.get_ident())
        return b"up 1\n"

    monkeypatch.setattr(http_server, "generate_latest", generate)
    server = await http_server.serve(0, 0, lambda: True)
    try:
        port = next(address[1] for address in server.addresses if address[0] == "0.0.0.0")
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert (answer.status, await answer.text()) == (200, "up 1\n")
    finally:
        await server.cleanup()
    assert len(threads) == 1
    assert threading.get_ident() not in threads
