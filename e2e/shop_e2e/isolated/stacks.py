"""Isolated stacks for tests, each with a mail server of its own."""

import asyncio
import fcntl
import random
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from devtools.services import SERVICES
from devtools.shop_client import Person, Shop
from devtools.stack import Plan, Servers, Stack, free_ports

from shop_e2e.api.mailbox import Mailbox
from shop_e2e.isolated.database_templates import copy_databases

_REDIS_DATABASES = range(2, 16)
"""The databases of a Redis server that neither service tests nor `make run-all` use."""


@asynccontextmanager
async def isolated_stack(
    name: str,
    logs: Path,
    box: Mailbox,
    *,
    launcher: str | None = None,
    proxied_ports: Mapping[str, int] | None = None,
    everywhere: Mapping[str, str] | None = None,
    settings: Mapping[str, Mapping[str, str]] | None = None,
) -> AsyncIterator[Stack]:
    """Runs a shop whose mails go to `box`, and removes it at the end of the block. Raises StackError.

    Leases and retries take seconds instead of minutes, so that tests need not wait for recovery; unpaid orders and
    access tokens outlive a test run, and rate limits are off since all requests come from one address. `everywhere` has
    additional variables for every service, `settings` those of single services.
    """
    smtp = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(box.port),
        "SMTP_STARTTLS": "false",
        "SMTP_FROM": "shop@example.com",
    }
    soon = {"SEND_LEASE_SECONDS": "6", "SEND_RETRY_SECONDS": "1", "SMTP_TIMEOUT_SECONDS": "5"}
    of_one = {
        "gateway": {"RATE_LIMITS": "off"},
        "notification": {**smtp, **soon, "SHOP_URL": "https://shop.example.com"},
        "order": {"RESERVATION_HOLD_SECONDS": "3", "ORDER_TTL_SECONDS": "86400"},
        "payment": {"PROVIDER_DEADLINE_SECONDS": "3", "SWEEP_AFTER_SECONDS": "4"},
        "user": {"ACCESS_TOKEN_SECONDS": "7200"},
    }
    with _claimed_redis_database() as redis_database:
        plan = Plan(
            name=f"{name}-{uuid.uuid4().hex[:8]}",
            logs=logs,
            ports=free_ports(),
            redis_database=redis_database,
            settings={
                service: {**(everywhere or {}), **of_one.get(service, {}), **(settings or {}).get(service, {})}
                for service in SERVICES
            },
            launcher=launcher,
            proxied_ports=proxied_ports or {},
        )
        print(f"logs of the services: {plan.logs}")
        stack = Stack(plan, Servers.from_environment())
        try:
            await asyncio.gather(copy_databases(stack), stack.prepare())
            await stack.start()
            yield stack
        finally:
            await stack.stop()
            await stack.remove()


@contextmanager
def _claimed_redis_database() -> Iterator[int]:
    """Claims a database of the test server's Redis, which a stack flushes when it starts.

    If other stacks of this machine use all of them, it shares one.
    """
    folder = Path(tempfile.gettempdir()) / "ecommerce-test-redis"
    folder.mkdir(exist_ok=True)
    databases = random.sample(_REDIS_DATABASES, len(_REDIS_DATABASES))
    with ExitStack() as locks:
        for database in databases:
            lock = locks.enter_context((folder / str(database)).open("w"))
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                databases = [database]
                break
        yield databases[0]


async def admin_of(stack: Stack, shop: Shop) -> Person:
    """Logs the first admin in."""
    return await shop.log_in(stack.plan.admin_email, stack.plan.admin_password)


def unexpected_errors(stack: Stack) -> list[str]:
    """Returns the log lines that report unexpected errors."""
    lines = (line for log in stack.plan.logs.glob("*.log") for line in log.read_text().splitlines())
    return [line for line in lines if "unforeseen error" in line or "background loop failed" in line]
