"""A shop's API, typed: `Client` has a method for every operation, and raises `ProblemError` for every error that the shop answers."""

from ecommerce_client.client import Client
from ecommerce_client.errors import ProblemError
from ecommerce_client.listing import Listing

__all__ = ["Client", "Listing", "ProblemError"]
