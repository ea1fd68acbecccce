import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
from notification_harness import Notifications, World, running, world

_USERS = itertools.count(100)


@pytest.fixture(scope="session")
async def around(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("mail")) as made:
        yield made


@pytest.fixture(scope="session")
async def running_service(around: World) -> AsyncIterator[Notifications]:
    async with running(around) as service:
        yield service


@pytest.fixture
def notifications(running_service: Notifications) -> Iterator[Notifications]:
    """The service, its neighbours answering again after each test."""
    yield running_service
    running_service.world.users.is_away = False


@pytest.fixture
async def lone_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A world that no service runs in yet, for one test."""
    async with world(tmp_path_factory.mktemp("mail")) as made:
        yield made


@pytest.fixture
def user() -> int:
    """Somebody whom no other test knows."""
    return next(_USERS)
