"""A shop moves to databases of CloudNativePG and back by backups: it has all that it had, and takes orders again."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import pytest
from chassis_testing.waiting import eventually
from devtools.shop_client import Person, Shop, stock_of
from shop_e2e.cluster import backups, s3_server, shops
from shop_e2e.cluster.kubectl import Namespace, Object, create_namespace, delete_namespace
from shop_e2e.faults.order_load import OrderLoad

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_NODE_PORT = 30081
_STOCK = 40
_STORAGE = {"storage": {"size": "1Gi"}, "resources": {"requests": {"cpu": "10m"}}}
_FIRST, _MOVED, _BACK = "e2e-move-first", "e2e-move-cnpg", "e2e-move-back"


@dataclass
class ShopMove:
    """Creates, closes and transfers shops, and times each phase."""

    destination: Object
    key: str = field(default_factory=backups.new_key)
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each phase of the last move took."""
    closed_at: float = 0.0

    def create(self, name: str, provider: str) -> Namespace:
        """Creates a shop in a namespace of its own, with what its backups need, and waits until it is Ready."""
        namespace = create_namespace(name)
        namespace.apply(
            *backups.bucket_secrets(self.key),
            shops.platform(
                "shop",
                databases={"provider": provider, **_STORAGE},
                services=shops.single_pods(),
                backup=backups.policy(self.destination),
                deletionPolicy="Delete",
            ),
        )
        namespace.wait_ready("shop", 900)
        return namespace

    def close(self, old: Namespace) -> None:
        """Closes a shop for its last backup."""
        self.closed_at = time.monotonic()
        with self.timed("close the old shop"):
            old.patch("ecp", "shop", {"spec": {"closed": True}})
            old.kubectl("wait", "ecp/shop", "--for=condition=Closed", "--timeout=300s", timeout=310)

    def transfer(self, old: Namespace, new: Namespace) -> None:
        """Moves the data and the host of a closed shop to a new one, and deletes the old one."""
        with self.timed("back it up"):
            backup = backups.take(old, "before-the-move")
        assert backup["phase"] == "Succeeded", backups.reason(backup)
        with self.timed("restore into the new shop"):
            source = {"shop": f"{old.name}/shop", "id": backup["backupId"]}
            restored = backups.restore(new, "move", source=source)
        assert backups.reason(restored)[:2] == ("Succeeded", "Succeeded"), backups.reason(restored)
        assert restored["invariants"] == "all hold"
        with self.timed("move the host"):
            old.kubectl("delete", "service/gateway-node-port")
            new.apply(shops.node_port("shop", _NODE_PORT))
        self.seconds["closed, of this"] = time.monotonic() - self.closed_at
        with self.timed("delete the old shop"):
            old.kubectl("delete", "ecp/shop", "--wait", timeout=180)
        delete_namespace(old.name, wait=False)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[phase] = time.monotonic() - began


@pytest.fixture
async def move() -> AsyncIterator[ShopMove]:
    shops.install_cnpg()
    async with s3_server.bucket() as destination:
        yield ShopMove(destination)


@pytest.fixture
def first(move: ShopMove) -> Iterator[Namespace]:
    try:
        namespace = move.create(_FIRST, "builtin")
        namespace.apply(shops.node_port("shop", _NODE_PORT))
        yield namespace
    finally:
        for name in (_FIRST, _MOVED, _BACK):
            delete_namespace(name, wait=False)


async def test_a_shop_moves_to_cloudnativepg_and_back_with_all_that_it_has(move: ShopMove, first: Namespace) -> None:
    secret = first.secret("shop-admin")
    async with Shop(shops.gateway_url(_NODE_PORT)) as shop:
        await shop.wait_until_healthy(120)
        admin = await shop.log_in(secret["ADMIN_EMAIL"], secret["ADMIN_PASSWORD"])
        _, product = await shop.stocked_product(admin, _STOCK)
        customer = await shop.register()
        await customer.cancel((await customer.order((product, 2))).id)
        accounts = Accounts(admin.email, secret["ADMIN_PASSWORD"], customer.email, customer.password, product)

    moved = await _move(move, first, _MOVED, "cnpg", accounts, sold=0)
    await _move(move, moved, _BACK, "builtin", accounts, sold=3)


@dataclass(frozen=True)
class Accounts:
    """The people of the first shop, with the passwords that they have there, and what they trade."""

    admin: str
    admin_password: str
    customer: str
    customer_password: str
    product: int


async def _move(
    move: ShopMove, old: Namespace, name: str, provider: str, accounts: Accounts, *, sold: int
) -> Namespace:
    """Sells a piece, moves the shop while others are being sold, and sells one in the moved shop."""
    move.seconds.clear()
    with move.timed("create the new shop"):
        new = await asyncio.to_thread(move.create, name, provider)
    async with _people(accounts) as (admin, customer):
        await customer.buy((accounts.product, 1))
        await _stock_becomes(customer, accounts, sold + 1)
        _, other_product = await customer.shop.stocked_product(admin, 10_000)
        load = OrderLoad(customer.shop, other_product, pause=0.5)
        async with load.running():
            await load.recovered()
            orders, users = await customer.orders(), await _users(admin)
            last = await customer.order((accounts.product, 1))
            await customer.pay(last.id)
            await asyncio.to_thread(move.close, old)

    await asyncio.to_thread(move.transfer, old, new)
    print(f"moved to {provider}:", ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in move.seconds.items()))

    async with _people(accounts) as (admin, customer):
        confirmed = await customer.order_becomes(last.id, "confirmed")
        assert await customer.orders() == [confirmed, *orders]
        assert await _users(admin) == users
        await _stock_becomes(customer, accounts, sold + 2)
        await load.reconnect(customer.shop)
        await load.assert_consistent()
        await asyncio.to_thread(shops.wait_consistent, new, "shop")
        await customer.buy((accounts.product, 1))
        await _stock_becomes(customer, accounts, sold + 3)
    return new


@asynccontextmanager
async def _people(accounts: Accounts) -> AsyncIterator[tuple[Person, Person]]:
    """Logs the admin and the customer in to the shop that has the host today."""
    async with Shop(shops.gateway_url(_NODE_PORT)) as shop:
        await shop.wait_until_healthy(120)
        admin = await shop.log_in(accounts.admin, accounts.admin_password)
        yield admin, await shop.log_in(accounts.customer, accounts.customer_password)


async def _users(admin: Person) -> list[tuple[int, str]]:
    return [(user.id, user.email) async for user in admin.api.user.list_users()]


async def _stock_becomes(person: Person, accounts: Accounts, committed: int) -> None:
    expected = stock_of(accounts.product, _STOCK, committed=committed)

    async def is_expected() -> bool:
        return await person.shop.stock(accounts.product) == expected

    await eventually(is_expected, 60)
