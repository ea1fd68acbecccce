"""The composition root: builds the whole service by hand."""

from datetime import UTC, datetime

from chassis import http, invariants, rpc
from chassis.database import Database
from chassis.kernel.ids import uuid7
from chassis.process import Program, Service
from chassis.settings import Address, BackendSettings
from chassis.tokens import Authenticator, TokenVerifier, keys_from

from sample_service.handlers.http import routes
from sample_service.handlers.problems import PROBLEMS
from sample_service.service.samples import Samples

SCHEMA = "0001"


class Settings(BackendSettings):
    user_grpc: Address
    """Where the public keys that verify access tokens come from."""


async def build(settings: Settings) -> Service:
    database = Database(settings, SCHEMA)
    users = rpc.channel(settings.user_grpc)
    samples = Samples(database, lambda: datetime.now(UTC), uuid7)
    auth = Authenticator(TokenVerifier(keys_from(users)))
    ready = http.Readiness(database.is_ready)

    return Service(
        http=http.app("Sample", settings.service_version, [routes(samples, auth)], PROBLEMS, ready),
        ready=ready,
        rpc=rpc.Server(settings.grpc_port, PROBLEMS, []),
        background={
            "invariants": invariants.Books(database, "sample_service").watch,
        },
        closers=(users.close, database.close),
    )


PROGRAM = Program("sample", Settings, build)
