"""The functions of docs/operations.md that close and back up a shop by hand do nothing more after a command failed."""

import os
from pathlib import Path

import pytest
from devtools.doc_checks import examples, run

_OPERATIONS = Path(__file__).parents[3] / "docs/operations.md"
_KUBECTL = """#!/bin/bash
echo "$*" >> {folder}/calls
case "$*" in
  *{failing}*) echo "refused" >&2; exit 1 ;;
  *'get pod '*component=rabbitmq*) echo pod/shop-rabbitmq-server-1 ;;
  *'get pod '*) echo pod/shop-db-2 ;;
  *'get secret'*) printf users_db ;;
  *rabbitmqctl*) cat {folder}/queues ;;
  *pg_dump*) echo "a dump" ;;
esac
"""


class Cluster:
    """A kubectl that records its calls, and fails with those that contain a text."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "queues").write_text("order.events 0\norder.dead 2\n")
        self.fail("nothing fails")

    def fail(self, text: str) -> None:
        script = self._folder / "kubectl"
        script.write_text(_KUBECTL.format(folder=self._folder, failing=f"'{text}'"))
        script.chmod(0o755)

    async def run(self, number: int) -> None:
        """Runs the functions, then an example of the document."""
        path = f"{self._folder}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "HOME": str(self._folder)}
        shell = examples(_OPERATIONS)
        await run([shell[0], shell[number]], environment)

    @property
    def calls(self) -> str:
        return (self._folder / "calls").read_text()

    @property
    def dumps(self) -> list[Path]:
        return [*(self._folder / "shop-backup").glob("*.dump")]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


async def test_a_shop_is_dumped_once_no_event_is_in_transit_and_opened_again(cluster: Cluster) -> None:
    await cluster.run(1)

    assert len(cluster.dumps) == 7
    assert all(dump.read_text() == "a dump\n" for dump in cluster.dumps)
    closing, opening = "scale deployment --selector app.kubernetes.io/instance=shop --replicas=", '"mode": "Manage"'
    assert cluster.calls.index("rabbitmqctl") < cluster.calls.index(f"{closing}0") < cluster.calls.index("pg_dump")
    assert cluster.calls.rindex("pg_dump") < cluster.calls.index(f"{closing}1") < cluster.calls.index(opening)


async def test_events_are_counted_in_the_pods_that_have_the_labels(cluster: Cluster) -> None:
    await cluster.run(1)

    assert "exec pod/shop-rabbitmq-server-1 -- rabbitmqctl" in cluster.calls
    assert "component=user-db,cnpg.io/instanceRole!=replica" in cluster.calls
    assert cluster.calls.count("exec pod/shop-db-2 -- sh -c psql") == 6


@pytest.mark.parametrize("example", [1, 2])
async def test_databases_that_are_not_builtin_are_refused_before_anything_changes(
    cluster: Cluster, example: int
) -> None:
    cluster.fail("get statefulset shop-payment-db")

    with pytest.raises(AssertionError, match="the database of payment is not builtin"):
        await cluster.run(example)

    assert "patch" not in cluster.calls
    assert "scale" not in cluster.calls
    assert cluster.dumps == []


@pytest.mark.parametrize("failing", ["rabbitmqctl", "SELECT type FROM outbox", "component=order-db", "get secret"])
async def test_events_that_cannot_be_counted_leave_the_services_running_and_nothing_dumped(
    cluster: Cluster, failing: str
) -> None:
    cluster.fail(failing)

    with pytest.raises(AssertionError, match="refused"):
        await cluster.run(1)

    assert "--selector app.kubernetes.io/instance=shop --replicas" not in cluster.calls
    assert cluster.dumps == []


@pytest.mark.parametrize(("example", "failing"), [(1, "shop-order-db-0 -- sh -c pg_dump"), (2, "pg_restore")])
async def test_a_failed_dump_or_restore_does_not_open_the_shop(cluster: Cluster, example: int, failing: str) -> None:
    await cluster.run(1)
    before = cluster.calls.count("Manage")
    cluster.fail(failing)

    with pytest.raises(AssertionError, match="refused"):
        await cluster.run(example)

    assert cluster.calls.count("Manage") == before
