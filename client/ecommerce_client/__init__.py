"""A typed client of a shop: `Client` has a method for every operation, which raises `ProblemError` for errors."""

from ecommerce_client.client import Client
from ecommerce_client.errors import ProblemError
from ecommerce_client.listing import Listing

__all__ = ["Client", "Listing", "ProblemError"]
