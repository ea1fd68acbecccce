"""Every server of a process is reached by IPv4 and by IPv6, and by IPv4 alone where there is no IPv6."""

import asyncio
import socket
from collections.abc import Awaitable

import httpx
import pytest
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.listening import listen
from chassis.runtime.process import Service, metrics_server, run
from chassis.settings import ServiceSettings
from chassis_testing.ports import free_port
from chassis_testing.waiting import eventually
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

both_families = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])


def url(host: str, port: int, path: str) -> str:
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"


@both_families
async def test_http_is_served(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = asyncio.Event()
    monkeypatch.setattr("chassis.runtime.process._stop_signal", lambda: stopping)
    settings = ServiceSettings(http_port=free_port(), shutdown_drain_seconds=0)
    ready = Readiness()
    service = Service(create_app("Test", "1", [], {}, ready), ready)
    serving = asyncio.create_task(run(service, settings, frozenset({"http"})))

    async with httpx.AsyncClient() as client:
        await eventually(lambda: is_served(client.get(url(host, settings.http_port, "/health"))))
    stopping.set()
    await serving


async def is_served(request: Awaitable[httpx.Response]) -> bool:
    try:
        return (await request).status_code == 200
    except httpx.ConnectError:
        return False


@both_families
async def test_grpc_is_served(host: str) -> None:
    server = GrpcServer(0, {}, [])
    await server.start()
    target = f"ipv6:[{host}]:{server.port}" if ":" in host else f"ipv4:{host}:{server.port}"
    async with aio.insecure_channel(target) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
    await server.stop(0)

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@both_families
async def test_metrics_are_served(host: str) -> None:
    port = free_port()
    server = metrics_server(port)
    server.start()

    async with httpx.AsyncClient() as client:
        response = await client.get(url(host, port, "/metrics"))
        one = await client.get(url(host, port, "/metrics?name[]=python_info"))
    await server.stop()

    assert "process_start_time_seconds" in response.text
    assert {line.split("{")[0] for line in one.text.splitlines() if line[0] != "#"} == {"python_info"}


async def test_connections_on_which_nothing_happens_do_not_keep_readers_of_metrics_out() -> None:
    port = free_port()
    server = metrics_server(port)
    server.start()
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]

    async with httpx.AsyncClient() as client:
        response = await client.get(url("127.0.0.1", port, "/metrics"))
    ended = [reader for reader, _ in silent if reader.at_eof()]
    for _, writer in silent:
        writer.close()
    await server.stop()

    assert response.status_code == 200
    assert len(ended) >= 40


@pytest.mark.parametrize("host", ["127.0.0.1"])
def test_a_host_without_ipv6_is_served_by_ipv4(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)

    with listen(0) as listener, socket.create_connection((host, listener.getsockname()[1])):
        assert listener.family is socket.AF_INET
