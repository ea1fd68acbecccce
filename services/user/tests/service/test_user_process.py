"""The service as a process: it starts, serves, stops, and logs no secret."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from chassis.database.migrations import migrate
from chassis.grpc.access import token_digest
from chassis.grpc.client import call
from chassis_testing.broker import new_vhost, recorded_events
from chassis_testing.callers import KNOWN_CALLERS, open_caller_channel, pairs
from chassis_testing.databases import empty_database
from chassis_testing.environment import environment_variable
from chassis_testing.ports import free_port
from chassis_testing.waiting import eventually
from shopapi.events.v1.events_pb2 import PasswordResetRequested, UserRegistered
from shopapi.user.v1 import user_pb2, user_pb2_grpc
from user_harness import ADMIN_EMAIL, ADMIN_PASSWORD, SECRET, is_ready, new_email
from user_service.handlers.grpc import ALLOWED_CALLERS

PASSWORD, NEW = "the-first-password", "the-second-password"


@dataclass(frozen=True)
class Running:
    http: httpx.AsyncClient
    rpc_address: str
    process: asyncio.subprocess.Process
    broker: str

    async def stop_and_read_log(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(self.process.communicate(), 20)
        assert self.process.returncode == 0
        return output.decode()


@asynccontextmanager
async def started() -> AsyncIterator[Running]:
    ports = {name: free_port() for name in ("HTTP_PORT", "GRPC_PORT", "METRICS_PORT")}
    async with empty_database() as database, new_vhost() as broker:
        await migrate("user_service", database)
        settings = {name.upper(): str(value) for name, value in database.model_dump().items()}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "user_service", "serve"),
            env={
                **os.environ,
                "LOG_LEVEL": "DEBUG",
                "RABBITMQ_URL": broker,
                "REDIS_URL": environment_variable("TEST_REDIS_URL"),
                "JWT_SECRET": SECRET,
                "GRPC_CALLERS": pairs({caller: digest for digest, caller in KNOWN_CALLERS.items()}),
                "ADMIN_EMAIL": ADMIN_EMAIL,
                "ADMIN_PASSWORD": ADMIN_PASSWORD,
                "SHUTDOWN_DRAIN_SECONDS": "0",
                **settings,
                **{name: str(port) for name, port in ports.items()},
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['HTTP_PORT']}") as http:
                await eventually(lambda: is_ready(http))
                yield Running(http, f"127.0.0.1:{ports['GRPC_PORT']}", process, broker)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def test_no_secret_and_no_address_is_logged() -> None:
    async with started() as running, recorded_events(running.broker, "notification") as next_event:
        http, email, other = running.http, new_email(), new_email()

        async def post(path: str, expected: int, **body: str) -> httpx.Response:
            answer = await http.post(f"/api/v1/{path}", json=body)
            assert answer.status_code == expected, answer.text
            return answer

        async def mailed(kind: type[UserRegistered] | type[PasswordResetRequested]) -> str:
            event = await next_event()
            assert isinstance(event.payload, kind)
            async with open_caller_channel(running.rpc_address, ALLOWED_CALLERS) as channel:
                request = user_pb2.GetMailTokenRequest(request_id=event.payload.request_id)
                return (await call(user_pb2_grpc.UserServiceStub(channel).GetMailToken, request)).token

        tokens = (await post("auth/register", 201, email=email, password=PASSWORD)).json()["data"]
        verifying = await mailed(UserRegistered)
        await post("auth/verify-email", 204, token=verifying)
        renewed = (await post("auth/refresh", 200, refresh_token=tokens["refresh_token"])).json()["data"]
        await post("auth/refresh", 401, refresh_token=tokens["refresh_token"])
        await post("auth/forgot-password", 202, email=email)
        resetting = await mailed(PasswordResetRequested)
        await post("auth/reset-password", 204, token=resetting, new_password=NEW)
        await post("auth/reset-password", 401, token=resetting, new_password=NEW)
        for _ in range(5):
            await post("auth/login", 401, email=email, password="a-wrong-password")
        await post("auth/login", 429, email=email, password="a-wrong-password")
        await post("auth/login", 401, email=other, password="a-wrong-password")
        await http.post("/api/v1/auth/login", content=b'{"password": "a-wrong-password", ')
        await http.get(f"/api/v1/users?q={email}", headers={"Authorization": f"Bearer {renewed['access_token']}"})
        log = await running.stop_and_read_log()

    secrets = [PASSWORD, NEW, "a-wrong-password", ADMIN_PASSWORD, SECRET, verifying, resetting, "argon2"]
    secrets += [tokens["access_token"], tokens["refresh_token"], renewed["access_token"], renewed["refresh_token"]]
    for secret in (*secrets, *(token[-20:] for token in secrets if len(token) > 60), email, other, ADMIN_EMAIL):
        assert secret not in log
    for expected in (
        "a password was reset",
        "the first admin is registered",
        '"route":"/api/v1/auth/login"',
        "stopped",
    ):
        assert expected in log


@pytest.mark.parametrize("missing", ["GRPC_CALLERS", "JWT_SECRET", "RABBITMQ_URL", "REDIS_URL"])
async def test_a_process_without_a_setting_names_it_and_exits(missing: str) -> None:
    environment = {"PATH": os.environ["PATH"], "JWT_SECRET": SECRET, "RABBITMQ_URL": "amqp://broker/", "DB_HOST": "db"}
    environment |= {"REDIS_URL": "redis://redis/", "DB_USER": "u", "DB_PASSWORD": "p", "DB_NAME": "n", "GRPC_PORT": "0"}
    environment["GRPC_CALLERS"] = pairs({"order": token_digest("a token")})
    environment.pop(missing)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "user_service", "serve"), env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await process.communicate()
    assert (process.returncode, complaint.decode().strip()) == (78, f"configuration: {missing} is not set")
