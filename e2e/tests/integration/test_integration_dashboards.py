"""Every panel of every dashboard has data once a shop is in use."""

import asyncio
import contextlib
import itertools
import math
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import prometheus_client
import pytest
from chassis_testing.ports import free_port
from chassis_testing.waiting import eventually
from devtools.dashboard_plots import draw, filled, save
from devtools.dashboards import DASHBOARDS, Panel
from devtools.prometheus import Prometheus, Target, watching
from devtools.shop_client import Person, Shop
from devtools.stack import Stack
from ecommerce_client import ProblemError

from platform_operator import metrics as of_operator
from platform_operator.api.kinds import PlatformKey

_BROKER = "ecommerce-test-rabbitmq"
_INTERVAL = "10s"


@pytest.mark.slow
async def test_every_panel_has_data_after_a_load(
    watched: Prometheus, shop: Shop, admin: Person, tmp_path: Path
) -> None:
    panels = [panel for dashboard in DASHBOARDS for panel in dashboard.panels]
    empty: list[str] = []

    async def none_is_empty() -> bool:
        empty[:] = [panel.title for panel in panels if not await _has_data(watched, panel)]
        return not empty

    async with _load(shop, admin):
        try:
            await eventually(none_is_empty, 120)
        except TimeoutError:
            pytest.fail(f"no data in {', '.join(empty)}")
    for dashboard in DASHBOARDS:
        picture = tmp_path / f"{dashboard.name}.svg"
        save(await draw(watched, dashboard, ".*", minutes=1, end=time.time()), picture)
        assert "no data" not in picture.read_text()


async def _has_data(watched: Prometheus, panel: Panel) -> bool:
    """Returns whether each of a panel's queries has a series with a number."""
    answers = [await watched.now(filled(query, ".*", _INTERVAL)) for query in panel.queries.values()]
    return all(any(not math.isnan(float(series["value"][1])) for series in answer) for answer in answers)


@pytest.fixture
async def watched(stack: Stack, tmp_path: Path) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes the shop's processes, its broker, and metrics of an operator."""
    with _operator_metrics() as operator:
        services = [Target(f"127.0.0.1:{ports.metrics}", name) for name, ports in stack.plan.ports.items()]
        queues = {"family": ["queue_coarse_metrics"], "vhost": [stack.plan.name]}
        broker = f"{_address_of(_BROKER)}:15692"
        others = [
            Target(broker, "rabbitmq"),
            Target(broker, "rabbitmq", "/metrics/detailed", queues),
            Target(f"127.0.0.1:{operator}", "operator"),
        ]
        async with watching([*services, *others], "shop", free_port(), tmp_path) as prometheus:
            yield prometheus


@contextlib.contextmanager
def _operator_metrics() -> Iterator[int]:
    """Serves the operator's metrics for one shop and yields the port."""
    port = free_port()
    server, thread = prometheus_client.start_http_server(port, addr="127.0.0.1")
    working = threading.Event()
    worker = threading.Thread(target=_reconcile_again_and_again, args=(working,))
    worker.start()
    try:
        yield port
    finally:
        working.set()
        worker.join()
        server.shutdown()
        server.server_close()
        thread.join()


def _reconcile_again_and_again(done: threading.Event) -> None:
    conditions = [
        {"type": type_, "status": "True"} for type_ in ("Ready", "Progressing", "Degraded", "EventsDelivered")
    ]
    of_operator.LEADING.set(1)
    while not done.wait(0.2):
        of_operator.export_platform(PlatformKey("shop", "shop"), {"conditions": conditions, "invariants": []})
        of_operator.RECONCILE_SECONDS.observe(0.1)
        of_operator.RENDER_SECONDS.observe(0.2)
        of_operator.APPLIES.labels("Deployment", "NotAppliedYet").inc()
        of_operator.REPAIRS.labels("Service", "Absent").inc()


@contextlib.asynccontextmanager
async def _load(shop: Shop, admin: Person) -> AsyncIterator[None]:
    """Runs typical requests of all roles until the block ends."""
    _, product = await shop.stocked_product(admin, 100_000)
    _, sold_out = await shop.stocked_product(admin, 0)
    working = asyncio.create_task(_shop_for_ever(shop, product, sold_out))
    try:
        yield
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


async def _shop_for_ever(shop: Shop, product: int, sold_out: int) -> None:
    for _ in itertools.count():
        customer = await shop.register()
        await shop.call("GET", f"/products/{product}")
        await shop.call("GET", "/products?q=espresso")
        bought = await customer.buy((product, 2))
        await customer.cancel(bought.id)
        await customer.cancel((await customer.order((product, 1))).id)
        declined = await customer.order((product, 1))
        with pytest.raises(ProblemError):
            await customer.pay(declined.id, card="pm_card_chargeDeclined")
        with pytest.raises(ProblemError):
            await customer.order((sold_out, 1))


def _address_of(container: str) -> str:
    """Returns a container's address on this machine's bridge."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    done = subprocess.run(["docker", "inspect", "-f", template, container], check=True, capture_output=True, text=True)
    return done.stdout.strip()
