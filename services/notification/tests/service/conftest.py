import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
from notification_harness import Environment, RunningService, environment, running_service

_USERS = itertools.count(100)


@pytest.fixture(scope="session")
async def shared_env(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Environment]:
    async with environment(tmp_path_factory.mktemp("mail")) as env:
        yield env


@pytest.fixture(scope="session")
async def shared_service(shared_env: Environment) -> AsyncIterator[RunningService]:
    async with running_service(shared_env) as service:
        yield service


@pytest.fixture
def service(shared_service: RunningService) -> Iterator[RunningService]:
    """The running service. After each test the user service is available again."""
    yield shared_service
    shared_service.env.users.is_unavailable = False


@pytest.fixture
async def isolated_env(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Environment]:
    """An environment for one test, in which no service runs yet."""
    async with environment(tmp_path_factory.mktemp("mail")) as env:
        yield env


@pytest.fixture
def user() -> int:
    """The id of a user that no other test uses."""
    return next(_USERS)
