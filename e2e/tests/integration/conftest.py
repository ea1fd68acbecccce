import random
import uuid
from collections.abc import AsyncIterator

import pytest
from shop_e2e.client import Person, Shop
from shop_e2e.stack import Plan, Stack, free_ports, running


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The whole shop as processes. A crash holds stock for three seconds only, so that tests need not wait for a minute."""
    plan = Plan(
        name=f"e2e-{uuid.uuid4().hex[:8]}",
        logs=tmp_path_factory.mktemp("logs"),
        ports=free_ports(),
        redis_database=random.randrange(2, 16),
        settings={"order": {"RESERVATION_HOLD_SECONDS": "3"}},
    )
    print(f"logs of the services: {plan.logs}")
    async with running(plan) as started:
        yield started
        assert unforeseen_errors(plan) == []


def unforeseen_errors(plan: Plan) -> list[str]:
    """What services logged that nobody had thought of."""
    lines = (line for log in plan.logs.glob("*.log") for line in log.read_text().splitlines())
    return [line for line in lines if "unforeseen error" in line or "background loop failed" in line]


@pytest.fixture(scope="session")
async def shop(stack: Stack) -> AsyncIterator[Shop]:
    async with Shop(stack.url) as opened:
        yield opened


@pytest.fixture(scope="session")
async def admin(stack: Stack, shop: Shop) -> Person:
    return await shop.log_in(stack.plan.admin_email, stack.plan.admin_password)
