"""The shop of compose.yaml, and of compose.prod.yaml over it, starts from nothing, takes an order, and is removed."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from chassis_testing.waiting import eventually
from devtools.services import SERVICES
from devtools.shop_client import Shop, stock_of
from ecommerce_client.models import Money

pytestmark = pytest.mark.slow

_SCRIPT = Path(__file__).resolve().parents[3] / "hack/compose/compose"
_GATEWAY, _PROMETHEUS = 18090, 18091


@dataclass(frozen=True)
class Composed:
    admin_password: str
    prometheus: str
    containers: Mapping[str, str]
    """Every container's name and state."""


@pytest.fixture(scope="module", params=["", "--prod"], ids=["compose.yaml", "compose.prod.yaml"])
def composed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    folder = tmp_path_factory.mktemp("compose")
    own = {
        "COMPOSE_PROJECT_NAME": "shop-test",
        "ENV_FILE": str(folder / "env"),
        "SECRETS": str(folder / "secrets"),
        "GATEWAY_PORT": str(_GATEWAY),
        "PROMETHEUS_PORT": str(_PROMETHEUS),
    }
    options = [request.param] if request.param else []

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    try:
        run(_SCRIPT, "up", *options)
        listed = run("docker", "ps", "--all", "--filter", "label=com.docker.compose.project=shop-test", "--format=json")
        containers = [json.loads(line) for line in listed.splitlines()]
        yield Composed(
            admin_password=_admin_password(folder),
            prometheus=f"http://127.0.0.1:{_PROMETHEUS}",
            containers={one["Names"]: one["Status"] for one in containers},
        )
    finally:
        run(_SCRIPT, "down", *options)


def _admin_password(folder: Path) -> str:
    if (secret := folder / "secrets/admin_password").exists():
        return secret.read_text().strip()
    lines = (folder / "env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["ADMIN_PASSWORD"]


async def test_an_order_is_placed_paid_and_confirmed(composed: Composed) -> None:
    async with Shop(f"http://127.0.0.1:{_GATEWAY}") as shop:
        await shop.wait_until_healthy()
        admin = await shop.log_in("admin@example.com", composed.admin_password)
        _, product = await shop.stocked_product(admin, 5)
        customer = await shop.register()

        order = await customer.buy((product, 2))

        assert (order.status, order.total) == ("confirmed", Money(amount=2580, currency="USD"))

        async def is_committed() -> bool:
            return await shop.stock(product) == stock_of(product, on_hand=5, committed=2)

        await eventually(is_committed)


async def test_every_service_is_migrated_and_healthy(composed: Composed) -> None:
    states = {name.removeprefix("shop-test-").removesuffix("-1"): state for name, state in composed.containers.items()}

    assert {service: "(healthy)" in states[service] for service in SERVICES} == dict.fromkeys(SERVICES, True)
    migrations = {name: state for name, state in states.items() if name.endswith("-migrate")}
    assert len(migrations) == sum(kind.database is not None for kind in SERVICES.values())
    assert all(state.startswith("Exited (0)") for state in migrations.values()), migrations


async def test_prometheus_scrapes_every_service_of_compose(composed: Composed) -> None:
    async with httpx.AsyncClient(base_url=composed.prometheus) as client:

        async def all_are_up() -> bool:
            answer = await client.get("/api/v1/query", params={"query": 'up{job="services"} == 1'})
            return {series["metric"]["component"] for series in answer.json()["data"]["result"]} == set(SERVICES)

        await eventually(all_are_up, 60)
