from collections.abc import AsyncIterator

import pytest
from payment_harness import Payments, running_payments
from stripe_double import StripeDouble, running_double


@pytest.fixture(scope="session")
async def simulated_service() -> AsyncIterator[Payments]:
    async with running_payments() as service:
        yield service


@pytest.fixture(scope="session")
async def double() -> AsyncIterator[StripeDouble]:
    async with running_double() as stripe:
        yield stripe


@pytest.fixture(scope="session")
async def striped_service(double: StripeDouble) -> AsyncIterator[Payments]:
    async with running_payments(double) as service:
        yield service


@pytest.fixture
async def payments(simulated_service: Payments) -> AsyncIterator[Payments]:
    """The service with the simulated provider. Whatever a test does to it, its books agree afterwards."""
    yield simulated_service
    simulated_service.orders.is_away = False
    assert await simulated_service.broken_invariants() == {}


@pytest.fixture
async def stripe(double: StripeDouble) -> AsyncIterator[StripeDouble]:
    """Stripe as it documents itself, answering again after each test."""
    yield double
    double.recover()


@pytest.fixture
async def striped(striped_service: Payments, stripe: StripeDouble) -> AsyncIterator[Payments]:
    """The service with Stripe. Whatever a test does to it, its books agree afterwards."""
    yield striped_service
    striped_service.orders.is_away = False
    assert await striped_service.broken_invariants() == {}
