"""The settings of the product service."""

from typing import Annotated

from chassis.settings import (
    Address,
    BackendSettings,
    CurrencySettings,
    GrpcCalleeSettings,
    GrpcCallerSettings,
    RedisSettings,
)
from pydantic import Field

from product_service.domain.search_terms import SearchLanguage


class Settings(BackendSettings, GrpcCallerSettings, GrpcCalleeSettings, CurrencySettings, RedisSettings):
    """The environment variables of the product service, beside those of every service with a database."""

    user_grpc: Address
    """The gRPC address of the user service, which has token keys and the names of sellers: `host:port`."""
    inventory_grpc: Address
    """The gRPC address of the inventory service, which has the stock of products: `host:port`."""
    review_grpc: Address
    """The gRPC address of the review service, which has the ratings of products: `host:port`."""
    part_deadline_seconds: Annotated[float, Field(gt=0)] = 0.5
    """How long product details wait for a part that another service has, in seconds. A late part is left out."""
    cache_deadline_seconds: Annotated[float, Field(gt=0)] = 0.1
    """How long Redis may take for one command, in seconds."""
    cache_catch_up_seconds: float = 0.5
    """How often evictions that Redis did not confirm are retried, in seconds."""
    confirmation_interval_seconds: Annotated[float, Field(gt=0, le=10)] = 0.4
    """How often the gateway is told whether the data that its answers show has changed, in seconds.

    Less than half of the gateway's `ANSWER_CACHE_SECONDS`, so that answers do not become too old in between.
    """
    withdrawal_sweep_seconds: float = 1.0
    """How often products of erased sellers are looked up and deleted, in seconds."""
    search_language: SearchLanguage = SearchLanguage.ENGLISH
    """The language whose words are also found by their stems, such as `cup` by `cups`: a text search configuration of
    PostgreSQL, or `simple` for none. After a change all products are indexed again, while the shop runs."""
    reindex_sweep_seconds: float = 3_600.0
    """How often products that are indexed for another language are looked up, in seconds: at the start, and hourly."""
    words_sweep_seconds: float = 86_400.0
    """How often words that no product has any more are deleted from the search vocabulary, in seconds: daily."""
