"""The composition root: builds the whole service by hand."""

from chassis.database.change_counts import COMPACTION_INTERVAL_SECONDS, ChangeCount
from chassis.grpc.access import CallerAuthorization
from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service, repeat_every
from chassis.types.ids import uuid7

from review_service.clients.orders import GrpcOrders
from review_service.clients.products import GrpcProducts
from review_service.clients.users import GrpcUsers
from review_service.handlers.consumers import event_handlers
from review_service.handlers.grpc import ALLOWED_CALLERS, ReviewServicer
from review_service.handlers.http import moderation, reviews, votes
from review_service.handlers.problems import PROBLEMS
from review_service.service.erasure import ErasureService
from review_service.service.moderation import ModerationService
from review_service.service.published_events import PublishedEvents
from review_service.service.queries import ReviewQueries
from review_service.service.ratings import RatingService
from review_service.service.reviews import ReviewService
from review_service.service.votes import VoteService
from review_service.settings import Settings

SCHEMA = "0006"
_RATING_REPAIR_SECONDS = 10.0


async def build(settings: Settings) -> Service:
    backend = Backend("review", settings, SCHEMA)
    database, now = backend.database, backend.now
    user_channel, product_channel, order_channel = (
        open_channel(address, settings.grpc_tokens[name])
        for name, address in (
            ("user", settings.user_grpc),
            ("product", settings.product_grpc),
            ("order", settings.order_grpc),
        )
    )
    users = GrpcUsers(user_channel, settings.name_deadline_seconds)
    products, orders = GrpcProducts(product_channel), GrpcOrders(order_channel)

    events = PublishedEvents(backend.outbox, uuid7)
    ratings = RatingService(database, events, now)
    queries = ReviewQueries(database, users, products)
    auth = Authenticator(TokenVerifier(fetch_keys_from(user_channel)))
    routers = [
        reviews.routes(ReviewService(database, products, orders, ratings, now), queries, auth),
        votes.routes(VoteService(database, now), queries, auth),
        moderation.routes(ModerationService(database, ratings), queries, auth),
    ]
    changes = ChangeCount(database)
    ready = Readiness(database.is_ready)

    return Service(
        http=create_app("Review", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(
            settings.grpc_port,
            PROBLEMS,
            [ReviewServicer(queries, changes).register],
            CallerAuthorization.of(ALLOWED_CALLERS, settings),
        ),
        background={
            **backend.loops(event_handlers(ErasureService(users, now))),
            "change counts": repeat_every(COMPACTION_INTERVAL_SECONDS, changes.compact),
            "ratings": repeat_every(_RATING_REPAIR_SECONDS, ratings.repair_ratings),
        },
        closers=(user_channel.close, product_channel.close, order_channel.close, backend.close),
    )


PROGRAM = Program("review", Settings, build)
