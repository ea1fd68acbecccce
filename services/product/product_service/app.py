"""The composition root: builds the whole service by hand."""

import time
from uuid import uuid4

from chassis.database import redis_client
from chassis.database.change_counts import COMPACTION_INTERVAL_SECONDS, ChangeCount
from chassis.grpc.access import CallerAuthorization
from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service, repeat_every
from chassis.types.ids import uuid7

from product_service.clients.inventory import GrpcInventory
from product_service.clients.reviews import GrpcReviews
from product_service.clients.users import GrpcUsers
from product_service.handlers.consumers import event_handlers
from product_service.handlers.grpc import ALLOWED_CALLERS, ProductServicer
from product_service.handlers.http import categories, products, recommendations, search
from product_service.handlers.problems import PROBLEMS
from product_service.repository.cache import ProductCache, connect
from product_service.repository.confirmations import ConfirmationStore
from product_service.repository.search import PLANNER
from product_service.service.categories import CategoryService
from product_service.service.confirmations import ConfirmationService
from product_service.service.details import ProductDetailsService
from product_service.service.evictions import EvictionService
from product_service.service.products import ProductService
from product_service.service.published_events import PublishedEvents
from product_service.service.recommendations import RecommendationService
from product_service.service.search import SearchService
from product_service.service.sellers import SellerService
from product_service.settings import Settings

SCHEMA = "0006"


async def build(settings: Settings) -> Service:
    backend = Backend("product", settings, SCHEMA, database_parameters=PLANNER)
    database = backend.database
    cache = ProductCache(
        connect(settings.redis_url, settings.redis_ca),
        settings.tenant,
        settings.cache_deadline_seconds,
        uuid4,
        time.monotonic,
    )
    confirmations = ConfirmationStore(
        redis_client.connect(settings.redis_url, 1, settings.redis_ca), settings.tenant, settings.cache_deadline_seconds
    )
    users, inventory, reviews = (
        open_channel(address, settings.grpc_tokens[name])
        for name, address in (
            ("user", settings.user_grpc),
            ("inventory", settings.inventory_grpc),
            ("review", settings.review_grpc),
        )
    )
    deadline = settings.part_deadline_seconds
    events = PublishedEvents(backend.outbox, backend.now, uuid7)
    product_service = ProductService(
        database, events, cache, settings.offered_currencies, settings.search_language, backend.now
    )
    seller_service = SellerService(database, events, product_service, backend.now)
    search_service = SearchService(database, settings.search_language)
    seller_client, stock_client, rating_client = (
        GrpcUsers(users, deadline),
        GrpcInventory(inventory, deadline),
        GrpcReviews(reviews, deadline),
    )
    details_service = ProductDetailsService(product_service, seller_client, stock_client, rating_client)
    changes = ChangeCount(database)
    eviction_service = EvictionService(database, cache, changes)
    confirmation_service = ConfirmationService(
        confirmations,
        {
            "product": changes.read,
            "user": seller_client.read_change_count,
            "inventory": stock_client.read_change_count,
            "review": rating_client.read_change_count,
        },
        settings.confirmation_interval_seconds,
    )
    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    routers = [
        categories.routes(CategoryService(database), auth),
        search.routes(search_service),
        recommendations.routes(RecommendationService(database, product_service)),
        products.routes(product_service, details_service, auth),
    ]
    ready = Readiness(database.is_ready)

    return Service(
        http=create_app("Product", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(
            settings.grpc_port,
            PROBLEMS,
            [ProductServicer(product_service).register],
            CallerAuthorization.of(ALLOWED_CALLERS, settings),
        ),
        background={
            **backend.loops(event_handlers(eviction_service, seller_service)),
            "change counts": repeat_every(COMPACTION_INTERVAL_SECONDS, changes.compact),
            "confirmations": repeat_every(settings.confirmation_interval_seconds, confirmation_service.confirm),
            "cache": repeat_every(settings.cache_catch_up_seconds, eviction_service.retry),
            "withdrawal": repeat_every(settings.withdrawal_sweep_seconds, seller_service.clean_up_erased_sellers),
            "reindex": repeat_every(settings.reindex_sweep_seconds, search_service.reindex),
            "words": repeat_every(settings.words_sweep_seconds, search_service.prune_vocabulary),
        },
        closers=(users.close, inventory.close, reviews.close, cache.close, confirmations.close, backend.close),
    )


PROGRAM = Program("product", Settings, build)
