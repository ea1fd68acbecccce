"""The settings of the inventory service."""

from typing import Annotated

from chassis.settings import Address, BackendSettings, GrpcCalleeSettings, GrpcCallerSettings
from pydantic import Field


class Settings(BackendSettings, GrpcCallerSettings, GrpcCalleeSettings):
    user_grpc: Address
    """Address (host:port) of the user service, which serves the keys that verify access tokens."""
    product_grpc: Address
    """Address (host:port) of the product service, which knows the seller of each product."""
    order_grpc: Address
    """Address (host:port) of the order service, which knows the order of each reservation."""
    expiry_sweep_seconds: float = 1.0
    """Seconds between two searches for overdue reservations."""
    low_stock_threshold: Annotated[int, Field(ge=0)] = 5
    """Units available below which stock is low, for products without a threshold of their own."""
    exact_stock_up_to: Annotated[int, Field(ge=0)] = 50
    """The largest number of units that the public is told; of more units it is told that there are at least so many."""
