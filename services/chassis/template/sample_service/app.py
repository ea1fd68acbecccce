"""The composition root: builds the whole service by hand."""

from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service
from chassis.settings import Address, BackendSettings
from chassis.types.ids import uuid7

from sample_service.handlers.http import routes
from sample_service.handlers.problems import PROBLEMS
from sample_service.service.samples import Samples

SCHEMA = "0001"


class Settings(BackendSettings):
    user_grpc: Address
    """Where the public keys that verify access tokens come from."""


async def build(settings: Settings) -> Service:
    backend = Backend("sample", settings, SCHEMA)
    users = open_channel(settings.user_grpc)
    samples = Samples(backend.database, backend.now, uuid7)
    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    ready = Readiness(backend.database.is_ready)

    return Service(
        http=create_app("Sample", settings.service_version, [routes(samples, auth)], PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(settings.grpc_port, PROBLEMS, []),
        background=backend.loops(),
        closers=(users.close, backend.close),
    )


PROGRAM = Program("sample", Settings, build)
