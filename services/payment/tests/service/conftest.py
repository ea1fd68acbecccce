from collections.abc import AsyncIterator

import pytest
from payment_harness import Payments, run_payments
from stripe_double import StripeDouble, run_stripe_double


@pytest.fixture(scope="session")
async def simulated_service() -> AsyncIterator[Payments]:
    async with run_payments() as service:
        yield service


@pytest.fixture(scope="session")
async def stripe_server() -> AsyncIterator[StripeDouble]:
    async with run_stripe_double() as stripe:
        yield stripe


@pytest.fixture(scope="session")
async def stripe_service(stripe_server: StripeDouble) -> AsyncIterator[Payments]:
    async with run_payments(stripe_server) as service:
        yield service


@pytest.fixture
async def payments(simulated_service: Payments) -> AsyncIterator[Payments]:
    """The service with the simulated provider. Its invariants must hold after every test."""
    yield simulated_service
    simulated_service.orders.is_unavailable = False
    assert await simulated_service.find_violations() == {}


@pytest.fixture
async def stripe(stripe_server: StripeDouble) -> AsyncIterator[StripeDouble]:
    """The double of Stripe. Its faults are reset after every test."""
    yield stripe_server
    stripe_server.reset()


@pytest.fixture
async def stripe_payments(stripe_service: Payments, stripe: StripeDouble) -> AsyncIterator[Payments]:
    """The service with Stripe. Its invariants must hold after every test."""
    yield stripe_service
    stripe_service.orders.is_unavailable = False
    assert await stripe_service.find_violations() == {}
