"""What a product page asks the neighbours. Each call fails as NeighbourUnavailable or RpcProblem."""

from chassis.grpc.client import call
from chassis.types.ids import ProductId, UserId
from grpc import aio
from shopapi.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from shopapi.review.v1 import review_pb2, review_pb2_grpc
from shopapi.user.v1 import user_pb2, user_pb2_grpc

from product_service.domain.details import Seller, Stock
from product_service.domain.products import Rating


class Neighbours:
    def __init__(self, users: aio.Channel, inventory: aio.Channel, reviews: aio.Channel, deadline: float) -> None:
        """Each call has `deadline` seconds."""
        self._deadline = deadline
        self._users = user_pb2_grpc.UserServiceStub(users)
        self._inventory = inventory_pb2_grpc.InventoryServiceStub(inventory)
        self._reviews = review_pb2_grpc.ReviewServiceStub(reviews)

    async def seller(self, user_id: UserId) -> Seller:
        user = await call(self._users.GetUser, user_pb2.GetUserRequest(user_id=user_id), self._deadline)
        return Seller(user_id, user.display_name)

    async def stock(self, product_id: ProductId) -> Stock:
        request = inventory_pb2.GetStockRequest(product_id=product_id)
        return Stock((await call(self._inventory.GetStock, request, self._deadline)).available)

    async def rating(self, product_id: ProductId) -> Rating:
        request = review_pb2.GetAvgRatingRequest(product_id=product_id)
        rating = await call(self._reviews.GetAvgRating, request, self._deadline)
        return Rating(rating.average, rating.count)
