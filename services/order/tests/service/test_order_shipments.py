"""Correcting the carrier and the tracking number of a shipped order."""

from typing import Any

import pytest
from order_harness import OrderApp
from shopapi.events.v1.events_pb2 import OrderShipped


async def ship(app: OrderApp, buyer: int) -> dict[str, Any]:
    placed = await app.place_confirmed_order(buyer, (1, 1))
    await app.change_status(placed["id"], "processing")
    response = await app.put_status(placed["id"], "shipped", carrier="DHL", tracking_number="JD01")
    shipped: dict[str, Any] = response.json()["data"]
    return shipped


def shipped_events(app: OrderApp, order_id: str) -> list[tuple[int, str]]:
    payloads = [event.payload for event in app.events_about(order_id)]
    return sorted((each.correction, each.tracking_number) for each in payloads if isinstance(each, OrderShipped))


async def test_a_corrected_tracking_number_replaces_the_former_one_and_is_published(app: OrderApp) -> None:
    shipped = await ship(app, 1301)

    for number in ("JD02", "JD02", "JD03"):
        response = await app.put(shipped["id"], "shipment", carrier="DHL", tracking_number=number)
        assert response.status_code == 200, response.text

    found = (await app.get(shipped["id"], 1301)).json()["data"]
    assert found == response.json()["data"]
    assert found["shipment"] == {"carrier": "DHL", "tracking_number": "JD03"}
    assert [former["tracking_number"] for former in found["former_shipments"]] == ["JD01", "JD02"]
    assert (found["status"], found["history"]) == ("shipped", shipped["history"])
    await app.wait_for_events(shipped["id"], "order.placed.v1", "order.confirmed.v1", *["order.shipped.v1"] * 3)
    assert shipped_events(app, shipped["id"]) == [(0, "JD01"), (1, "JD02"), (2, "JD03")]


async def test_only_the_shipment_of_an_order_on_its_way_is_corrected(app: OrderApp) -> None:
    placed = await app.place_confirmed_order(1302, (1, 1))

    too_early = await app.put(placed["id"], "shipment", tracking_number="JD02")
    await app.change_status(placed["id"], "processing", "shipped", "delivered")
    too_late = await app.put(placed["id"], "shipment", tracking_number="JD02")

    assert [(each.status_code, each.json()["code"]) for each in (too_early, too_late)] == [(409, "not_shipped")] * 2


@pytest.mark.parametrize(
    "body", [{}, {"carrier": ""}, {"tracking_number": "1", "status": "shipped"}, {"carrier": None}]
)
async def test_an_invalid_shipment_is_an_invalid_field(app: OrderApp, body: dict[str, object]) -> None:
    shipped = await ship(app, 1303)

    response = await app.put(shipped["id"], "shipment", **body)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
