from collections.abc import AsyncIterator

import pytest
from devtools.shop_client import Person, Shop
from devtools.stack import Stack
from shop_e2e.api.mailbox import Mailbox, mailbox
from shop_e2e.isolated.stacks import admin_of, isolated_stack, unexpected_errors


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
