"""The settings of the review service."""

from typing import Annotated

from chassis.settings import Address, BackendSettings, GrpcCalleeSettings, GrpcCallerSettings
from pydantic import Field


class Settings(BackendSettings, GrpcCallerSettings, GrpcCalleeSettings):
    user_grpc: Address
    """Address (host:port) of the user service, which serves the keys that verify access tokens, and authors' names."""
    product_grpc: Address
    """Address (host:port) of the product service, which knows the seller of each product."""
    order_grpc: Address
    """Address (host:port) of the order service, which knows who bought a product."""
    name_deadline_seconds: Annotated[float, Field(gt=0)] = 0.5
    """Seconds that a response waits for the names of authors. After that it is sent without them."""
