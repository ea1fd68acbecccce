"""The settings of the service."""

from chassis.settings import Address, BackendSettings, GrpcCallerSettings


class Settings(BackendSettings, GrpcCallerSettings):
    user_grpc: Address
    """The gRPC address of the user service, `host:port`, which has the keys that verify access tokens."""
