"""The sample service for its tests, with a fake of the user service at the gRPC boundary."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from chassis.settings import DatabaseSettings
from chassis_testing.callers import OWN_TOKENS
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from sample_service.app import build
from sample_service.settings import Settings
from shopapi.user.v1 import user_pb2_grpc

PATH = "/api/v1/samples"


@dataclass(frozen=True)
class SampleClient:
    """A client of the running service, which is called in process and has its own database."""

    http: httpx.AsyncClient
    issuer: TokenIssuer
    database: DatabaseSettings

    async def post(self, user: int, **body: object) -> httpx.Response:
        return await self.http.post(PATH, json=body, headers=self.issuer.bearer(user))

    async def open(self, user: int, name: str) -> dict[str, Any]:
        response = await self.post(user, name=name)
        assert response.status_code == 201, response.text
        opened: dict[str, Any] = response.json()["data"]
        return opened

    async def get(self, user: int, path: str = "") -> httpx.Response:
        return await self.http.get(f"{PATH}{path}", headers=self.issuer.bearer(user))

    async def close(self, user: int, sample_id: str) -> httpx.Response:
        return await self.http.post(f"{PATH}/{sample_id}/close", headers=self.issuer.bearer(user))


@asynccontextmanager
async def running_service(database: DatabaseSettings) -> AsyncIterator[SampleClient]:
    issuer = TokenIssuer()
    users = FakeUserService(issuer)
    async with grpc_server(lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(users, server)) as user_grpc:
        settings = Settings(
            **database.model_dump(),
            user_grpc=user_grpc,
            grpc_port=0,
            grpc_tokens=OWN_TOKENS,
            rabbitmq_url="amqp://127.0.0.1",  # unused: the service neither publishes nor consumes events
        )
        async with run_service(await build(settings)) as service:
            yield SampleClient(service.http, issuer, database)
