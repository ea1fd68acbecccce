"""One `kubectl apply` creates a shop that takes an order."""

import json

import httpx
import pytest
from chassis_testing.waiting import eventually as awaited
from devtools.services import SERVICES
from devtools.shop_client import Person, Shop, stock_of
from ecommerce_client import ProblemError
from ecommerce_client.models import Money
from ecommerce_client.models import product as product_models
from ecommerce_client.models.inventory import StockResponse
from ecommerce_client.models.review import ReviewRequest
from shop_e2e.cluster.kubectl import Namespace, eventually
from shop_e2e.cluster.shops import DATABASES

pytestmark = pytest.mark.cluster


def test_a_platform_becomes_ready_and_its_status_is_correct(namespace: Namespace) -> None:
    namespace.kubectl("wait", "ecp/shop", "--for=condition=Ready", "--timeout=420s", timeout=430)
    holding = ("InvariantsHold", "EventsDelivered", "NoDoubleCharge", "NothingOversold", "ProxiesTrusted", "Upgraded")
    for condition in holding:  # those that are read from pods follow a scrape later
        namespace.kubectl("wait", "ecp/shop", f"--for=condition={condition}", "--timeout=180s", timeout=190)
    platform = namespace.get("ecp", "shop")
    status = platform["status"]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}

    assert conditions == {
        "Ready": "True",
        "Progressing": "False",
        "Degraded": "False",
        **dict.fromkeys(holding, "True"),
        "MailConfigured": "False",
    }
    assert status["observedGeneration"] == platform["metadata"]["generation"]
    assert {service["name"] for service in status["services"]} == set(SERVICES)
    assert {database["name"] for database in status["databases"]} == set(DATABASES)
    assert "True" in namespace.kubectl("get", "ecp", "shop")


async def test_the_whole_journey_through_the_gateway(namespace: Namespace, shop: Shop, admin: Person) -> None:
    seller, product = await shop.stocked_product(admin, 10)
    customer = await shop.register()
    customer = await shop.log_in(customer.email, customer.password)

    order = await customer.order((product, 2))
    assert order.status == "pending"
    assert order.total == Money(amount=2580, currency="USD")
    assert [mine.id for mine in await customer.orders()] == [order.id]

    await customer.pay(order.id)
    await customer.order_becomes(order.id, "confirmed")
    await customer.api.review.add_review(product, ReviewRequest(rating=4, title="Good", text="A cup."))
    details = await _complete_details(shop, product)
    assert details.seller
    assert details.seller.id == seller.id
    assert details.stock == product_models.StockResponse(available=8, is_exact=True)
    assert details.rating == product_models.RatingResponse(average=4, count=1)

    await customer.cancel(order.id)
    await _stock_becomes(shop, product, stock_of(product, on_hand=10))


async def test_an_order_of_another_user_is_not_found(shop: Shop, admin: Person) -> None:
    _, product = await shop.stocked_product(admin, 1)
    order = await (await shop.register()).order((product, 1))
    stranger = await shop.register()

    with pytest.raises(ProblemError) as refusal:
        await stranger.api.order.get_order(order.id)

    assert refusal.value.status == 404


async def test_documentation_and_probes_answer_at_the_gateway(shop: Shop) -> None:
    async with httpx.AsyncClient(base_url=shop.url, timeout=30) as http:
        for path in ("/health", "/ready", "/swagger/"):
            assert (await http.get(path)).status_code == 200, path

        async def has_every_service() -> bool:  # while one does not answer, its paths are missing for some seconds
            paths = (await http.get("/openapi.json")).json()["paths"]
            return {"/api/v1/orders", "/api/v1/products/{product_id}", "/api/v1/auth/register"} <= set(paths)

        await awaited(has_every_service)


def test_events_reach_every_consumer_and_none_is_dead_lettered(namespace: Namespace) -> None:
    def queues() -> dict[str, int]:
        listed = namespace.kubectl(
            "exec",
            "shop-rabbitmq-0",
            "--",
            "rabbitmqctl",
            "--quiet",
            "--formatter",
            "json",
            "list_queues",
            "name",
            "messages",
        )
        return {queue["name"]: queue["messages"] for queue in json.loads(listed)}

    eventually(lambda: not any(queues().values()), 120, "every queue is empty")
    assert {"inventory", "inventory.dead", "order", "order.dead"} <= set(queues())


async def _complete_details(shop: Shop, product: int) -> product_models.ProductDetailsResponse:
    """Waits for details without a degraded part: on a busy machine, a service may miss the deadline of the call."""

    seen: list[product_models.ProductDetailsResponse] = []

    async def are_complete() -> bool:
        seen.append(await shop.api.product.get_details(product))
        return seen[-1].degraded == []

    await awaited(are_complete)
    return seen[-1]


async def _stock_becomes(shop: Shop, product: int, expected: StockResponse) -> None:
    async def is_so() -> bool:
        return await shop.stock(product) == expected

    await awaited(is_so)
