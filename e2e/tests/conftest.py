import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from devtools.shop_client import Person, Shop
from devtools.stack import Stack
from shop_e2e.api.mailbox import Mailbox, mailbox
from shop_e2e.isolated.stacks import admin_of, isolated_stack, unexpected_errors
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_USES_A_STACK = re.compile(r"\b(stack: Stack|shop: Shop|admin: Person)\b")


class OneSharedStack(LoadScopeScheduling):  # type: ignore[misc]  # xdist tells no types
    """A scheduler: one worker runs the files that share the session's stack, one after another; the others run the
    other files.

    Eight processes take half a minute of processor time to start, and some more as long as they run.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "the shared stack" if _shares_the_stack(self.config.rootpath / file) else file


def _shares_the_stack(file: Path) -> bool:
    if Path(__file__).parent not in file.parents:
        return False
    source = file.read_text()
    return "isolated_stack(" not in source and _USES_A_STACK.search(source) is not None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneSharedStack | None:
    return OneSharedStack(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
async def mails() -> AsyncIterator[Mailbox]:
    """A mail server that receives the shop's mails."""
    async with mailbox() as box:
        yield box


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory, mails: Mailbox) -> AsyncIterator[Stack]:
    """The whole shop as local processes."""
    async with isolated_stack("e2e", tmp_path_factory.mktemp("logs"), mails) as started:
        yield started
        assert unexpected_errors(started) == []


@pytest.fixture(scope="session")
async def shop(stack: Stack) -> AsyncIterator[Shop]:
    async with Shop(stack.url) as opened:
        yield opened


@pytest.fixture(scope="session")
async def admin(stack: Stack, shop: Shop) -> Person:
    return await admin_of(stack, shop)
