"""A backup and a restore with real pods: what a restored shop has, and what is refused while it serves."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from devtools.services import SERVICES
from devtools.shop_client import Person, Shop
from ecommerce_client import ProblemError
from shop_e2e.cluster import backups
from shop_e2e.cluster.kubectl import CONTEXT, OPERATOR_NAMESPACE, Namespace, command, eventually
from shop_e2e.cluster.shops import DATABASES
from shop_e2e.faults.order_load import OrderLoad

pytestmark = pytest.mark.cluster

_USERS_LOCKED = "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n"
OF_THE_SHOP = "app.kubernetes.io/instance=shop,app.kubernetes.io/part-of=ecommerce"
SERVING = f"app.kubernetes.io/instance=shop,app.kubernetes.io/component in ({','.join(SERVICES)})"


@pytest.fixture
def volume(namespace: Namespace) -> Iterator[None]:
    """A volume for the backups of the sample shop, and the key that they are encrypted with."""
    key = backups.new_key()
    claim = backups.volume_claim("backups")
    namespace.apply(claim, backups.secret(backups.KEY_SECRET, BACKUP_KEY=key))
    namespace.patch("ecp", "shop", {"spec": {"backup": backups.policy(backups.VOLUME)}})
    with ExitStack() as cleaning:
        cleaning.callback(namespace.kubectl, "delete", "pvc/backups", f"secret/{backups.KEY_SECRET}")
        cleaning.callback(backups.forget_restores, namespace)
        cleaning.callback(backups.open_shop, namespace)
        cleaning.callback(namespace.kubectl, "delete", "platformrestores,platformbackups", "--all", "--wait")
        cleaning.callback(namespace.patch, "ecp", "shop", {"spec": {"backup": None}})
        yield


async def test_a_restore_brings_back_the_orders_of_the_backup_and_the_shop_sells_again(
    namespace: Namespace, shop: Shop, admin: Person, volume: None
) -> None:
    _, product = await shop.stocked_product(admin, 10_000)
    customer = await shop.register()
    kept = await customer.buy((product, 1))
    load = OrderLoad(shop, product, pause=0.5)
    async with load.running():
        backup = await backups.LoadedBackup.take(load, namespace, "before")
        await customer.buy((product, 2))
        late_comer = await shop.register()

    restored = await asyncio.to_thread(backups.restore, namespace, "after", backup="before")

    await backup.assert_restored(restored)
    assert [order.id for order in await customer.orders()] == [kept.id], "the later order is gone"
    with pytest.raises(ProblemError, match="wrong_credentials"):
        await shop.log_in(late_comer.email, late_comer.password)
    await customer.buy((product, 3))
    namespace.wait_ready("shop")
    print(f"the shop was closed for {restored['closedSeconds']} s, {restored['resentEvents']} events are sent again")


async def test_a_restore_with_a_wrong_key_is_refused_while_the_shop_serves(
    namespace: Namespace, shop: Shop, volume: None
) -> None:
    backup = await asyncio.to_thread(backups.take, namespace, "before")
    other = backups.new_key()
    namespace.apply(backups.secret("other-key", BACKUP_KEY=other))
    pods = _pods(namespace, OF_THE_SHOP)
    try:
        place = {"id": backup["backupId"], "destination": backups.VOLUME}
        source = place | {"encryptionKeySecretRef": {"name": "other-key"}}
        refused = await asyncio.to_thread(backups.restore, namespace, "wrong-key", source=source)
    finally:
        namespace.kubectl("delete", "secret", "other-key")
    assert backups.reason(refused)[:2] == ("Failed", "WrongKey")
    assert "the shop stays open" in backups.reason(refused)[2]
    assert "startTime" not in refused, "it was not closed"
    assert _pods(namespace, OF_THE_SHOP) == pods
    await shop.register()


@pytest.mark.slow
async def test_a_backup_whose_pod_is_killed_says_so_and_is_none(namespace: Namespace, volume: None) -> None:
    with _users_locked(namespace):  # the backup waits for this table when it has dumped the other databases
        backups.begin(namespace, "PlatformBackup", "killed", platform="shop")
        first = await asyncio.to_thread(_pod_that_has_dumped, namespace, "backup-killed", len(DATABASES) - 1)
        half = _backup_of(namespace, first)
        namespace.kill(first)
        await asyncio.to_thread(_wait_for_retry, namespace, "killed", first)
    backup = await asyncio.to_thread(backups.status_at_end, namespace, "PlatformBackup", "killed")
    assert backup["phase"] == "Succeeded"
    assert backup["backupId"] != half

    refused = await asyncio.to_thread(backups.restore, namespace, "half", source={"id": half})
    assert backups.reason(refused)[:2] == ("Failed", "BackupNotFound")
    verified = await asyncio.to_thread(command, "kubectl", "ecommerce", "verify", "shop", "-n", namespace.name)
    assert f"backup {backup['backupId']} " in verified
    assert "is restorable" in verified


@pytest.mark.slow
async def test_a_killed_restore_leaves_the_shop_closed_until_it_was_retried(
    namespace: Namespace, shop: Shop, volume: None
) -> None:
    customer = await shop.register()
    await asyncio.to_thread(backups.take, namespace, "before")
    backups.begin(namespace, "PlatformRestore", "killed", platform="shop", backup="before")
    namespace.kill(await asyncio.to_thread(_pod_that_restores, namespace, "restore-killed"))
    retried = "--for=jsonpath={.status.conditions[0].reason}=JobFailed"
    await asyncio.to_thread(namespace.kubectl, "wait", "platformrestore/killed", retried, "--timeout=60s")
    phase, _, message = backups.reason(namespace.get("platformrestore", "killed")["status"])
    assert phase == "Closing"
    assert "ended without a report: exit code 137" in message
    assert "The shop stays closed, and its databases may be inconsistent: the restore is retried at" in message
    assert _pods(namespace, SERVING) == set()

    running = "--for=jsonpath={.status.phase}=Restoring"
    await asyncio.to_thread(namespace.kubectl, "wait", "platformrestore/killed", running, "--timeout=60s")
    Namespace(OPERATOR_NAMESPACE).kubectl("delete", "pod", "--all", "--force")  # another one goes on
    restored = await asyncio.to_thread(backups.status_at_end, namespace, "PlatformRestore", "killed")
    assert backups.reason(restored)[:2] == ("Succeeded", "Succeeded"), backups.reason(restored)
    await shop.wait_until_healthy()
    await shop.log_in(customer.email, customer.password)


@contextmanager
def _users_locked(namespace: Namespace) -> Iterator[None]:
    """Keeps the table of the users locked until the block ends."""
    psql = 'exec psql --quiet --tuples-only --username "$POSTGRES_USER" --dbname "$POSTGRES_DB"'
    arguments = ["exec", "--stdin", "shop-user-db-0", "--", "sh", "-c", psql]
    kubectl = ["kubectl", "--context", CONTEXT, "--namespace", namespace.name]
    pipe = subprocess.PIPE
    with subprocess.Popen([*kubectl, *arguments], stdin=pipe, stdout=pipe, text=True) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(_USERS_LOCKED)
        session.stdin.flush()
        assert "locked" in session.stdout.readline()
        yield
        session.stdin.close()


def _pod_that_has_dumped(namespace: Namespace, job: str, databases: int) -> str:
    """Waits until the pod of a Job has dumped so many databases, and returns its name."""
    return _running_pod(namespace, job, lambda log: log.count('"a database is dumped"') == databases)


def _pod_that_restores(namespace: Namespace, job: str) -> str:
    """Waits until the pod of a Job changes databases, and returns its name."""
    return _running_pod(namespace, job, lambda log: '"the files of the backup are whole"' in log)


def _running_pod(namespace: Namespace, job: str, is_there: Callable[[str], bool]) -> str:
    names: list[str] = []

    def is_running() -> bool:
        pods = namespace.list("pods", f"batch.kubernetes.io/job-name={job}")
        names[:] = [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"]
        return bool(names) and is_there(_logs(namespace, names[0]))

    eventually(is_running, 90, f"the pod of {job} is there")
    return names[0]


def _backup_of(namespace: Namespace, pod: str) -> str:
    """Returns the id of the backup that a pod takes."""
    line = next(one for one in _logs(namespace, pod).splitlines() if '"the backup begins"' in one)
    found: str = json.loads(line)["backup"]
    return found


def _wait_for_retry(namespace: Namespace, name: str, pod: str) -> None:
    def is_reported() -> bool:
        found = backups.reason(namespace.get("platformbackup", name)["status"])
        end = f"Pod {pod} ended without a report: exit code 137"
        return found[:2] == ("Running", "Retrying") and end in found[2]

    eventually(is_reported, 60, "the PlatformBackup says how its pod was killed")


def _logs(namespace: Namespace, pod: str) -> str:
    return namespace.kubectl("logs", pod)


def _pods(namespace: Namespace, selector: str) -> set[str]:
    """Returns the uids of pods, but for those of finished Jobs."""
    pods = namespace.list("pods", selector)
    return {pod["metadata"]["uid"] for pod in pods if pod["status"]["phase"] != "Succeeded"}
