"""The composition root: builds the service from its settings."""

from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service
from chassis.types.ids import uuid7

from sample_service.handlers.http import samples
from sample_service.handlers.problems import PROBLEMS
from sample_service.service.samples import SampleService
from sample_service.settings import Settings

SCHEMA = "0001"
"""The newest Alembic revision in `migrations`."""


async def build(settings: Settings) -> Service:
    backend = Backend("sample", settings, SCHEMA)
    users = open_channel(settings.user_grpc, settings.grpc_tokens["user"])
    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    service = SampleService(backend.database, backend.now, uuid7)
    ready = Readiness(backend.database.is_ready)

    return Service(
        http=create_app("Sample", settings.service_version, [samples.routes(service, auth)], PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(settings.grpc_port, PROBLEMS, []),
        background=backend.loops(),
        closers=(users.close, backend.close),
    )


PROGRAM = Program("sample", Settings, build)
