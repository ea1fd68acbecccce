"""Installations of the operator that would reconcile the same shops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from platform_operator.api.kinds import Kind, Manifest
from platform_operator.api.shards import Shard
from platform_operator.errors import ApiError, OtherInstallationError
from platform_operator.installations import CHECK_INTERVAL, OtherInstallations
from platform_operator.leader_election import ANNOTATION_NAMESPACES, ANNOTATION_SHARD, LEASE_DURATION, lease_name

OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


class Cluster:
    """Leases of installations by namespace. Those in `renewing` are renewed whenever time passes."""

    def __init__(self) -> None:
        self.leases: dict[str, Manifest] = {}
        self.renewing: set[str] = set()
        self.now = 100.0
        self.error: ApiError | None = None
        self.stop_after = 100.0

    def install(self, namespace: str, created: str, watched: str | None = "", *, live: bool = True) -> None:
        annotations = {} if watched is None else {ANNOTATION_NAMESPACES: watched}
        metadata = {"namespace": namespace, "creationTimestamp": created, "resourceVersion": "1"}
        self.leases[namespace] = {"metadata": metadata | {"annotations": annotations}, "spec": {"holderIdentity": "x"}}
        if live:
            self.renewing.add(namespace)

    async def list(
        self, kind: Kind, namespace: str | None, selector: str = "", limit: int = 0, fields: str = ""
    ) -> tuple[Sequence[Manifest], int]:
        assert (kind.kind, namespace, fields) == ("Lease", None, "metadata.name=ecommerce-operator")
        if self.error:
            raise self.error
        return list(self.leases.values()), 1

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.stop_after -= seconds
        if self.stop_after < 0:
            raise TimeoutError
        for namespace in self.renewing:
            metadata = self.leases[namespace]["metadata"]
            metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)

    def seen_from(self, namespace: str, *watched: str) -> OtherInstallations:
        return OtherInstallations(self, namespace, "", watched, lambda: self.now, self.sleep)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def waits(wait: Any) -> bool:
    try:
        await wait
    except TimeoutError:
        return True
    return False


async def test_a_second_installation_waits_and_names_the_first(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.install("first", OLD)
    assert await waits(cluster.seen_from("second").wait_for_older()), "it has no Lease yet"
    (record,) = caplog.records
    assert record.getMessage() == (
        "another installation of the operator, with no operator class as this one has, reconciles the same shops, from "
        "namespace first. Uninstall one of the two, or give one an operatorClass, and its shops the same "
        "spec.operatorClassName"
    )


async def test_the_older_installation_has_precedence_when_both_start(cluster: Cluster) -> None:
    cluster.install("first", OLD)
    cluster.install("second", NEW)
    assert not await waits(cluster.seen_from("first").wait_for_older())
    assert await waits(cluster.seen_from("second").wait_for_older())


async def test_a_newer_installation_that_leads_gives_up_when_the_older_one_comes_back(cluster: Cluster) -> None:
    cluster.install("first", OLD)
    cluster.install("second", NEW)
    with pytest.raises(OtherInstallationError, match="from namespace first"):
        await cluster.seen_from("second").watch()
    assert await waits(cluster.seen_from("first").watch()), "it goes on looking"
    assert await waits(cluster.seen_from("first").wait_for_all()), "the newer one has not given up yet"
    cluster.leases["second"]["spec"]["holderIdentity"] = ""
    assert not await waits(cluster.seen_from("first").wait_for_all())


async def test_a_lease_that_is_not_renewed_is_of_an_installation_that_is_gone(cluster: Cluster) -> None:
    cluster.install("gone", OLD, live=False)
    assert not await waits(cluster.seen_from("second").wait_for_older())
    assert LEASE_DURATION <= cluster.now - 100 <= LEASE_DURATION + CHECK_INTERVAL


@pytest.mark.parametrize(
    ("theirs", "ours", "overlap"),
    [("a,b", ("c",), False), ("a,b", ("b", "c"), True), ("a", (), True), ("", ("a",), True), (None, ("a",), True)],
)
async def test_installations_of_disjoint_namespaces_do_not_meet(
    cluster: Cluster, theirs: str | None, ours: tuple[str, ...], *, overlap: bool
) -> None:
    cluster.install("first", OLD, theirs)
    assert await waits(cluster.seen_from("second", *ours).wait_for_older()) is overlap


async def test_an_operator_without_the_right_to_list_leases_works(cluster: Cluster) -> None:
    cluster.install("first", OLD)
    cluster.error = ApiError(403, "Forbidden", "no")
    assert not await waits(cluster.seen_from("second").wait_for_older())


class Shards:
    """The Leases of one installation's shards, each renewed whenever time passes."""

    def __init__(self) -> None:
        self.held: dict[str, str | None] = {}
        self.now, self.stop_after, self.failures = 100.0, 100.0, 0

    async def list(
        self, kind: Kind, namespace: str | None, selector: str = "", limit: int = 0, fields: str = ""
    ) -> tuple[Sequence[Manifest], int]:
        assert namespace == "system"
        if self.failures:
            self.failures -= 1
            raise ApiError(500, "", "down")
        return [self.lease(name, shard) for name, shard in self.held.items()], 1

    def lease(self, name: str, shard: str | None) -> Manifest:
        annotations = {ANNOTATION_SHARD: shard} if shard else {}
        metadata = {"name": name, "namespace": "system", "annotations": annotations}
        return {"metadata": metadata | {"resourceVersion": str(self.now)}, "spec": {"holderIdentity": "x"}}

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.stop_after -= seconds
        if self.stop_after < 0:
            raise TimeoutError

    def seen_from(self, shard: Shard, operator_class: str = "") -> OtherInstallations:
        return OtherInstallations(self, "system", operator_class, (), lambda: self.now, self.sleep, shard)


@pytest.mark.parametrize(
    ("own", "held", "is_waiting"),
    [
        (Shard(1, 2), {"ecommerce-operator": "0/2", "ecommerce-operator.shard-1": "1/2"}, False),
        (Shard(1, 2), {"ecommerce-operator": None}, True),
        (Shard(0, 1), {"ecommerce-operator": "0/1", "ecommerce-operator.shard-1": "1/2"}, True),
        (Shard(2, 3), {"ecommerce-operator": "0/3", "ecommerce-operator.shard-1": "1/2"}, True),
        (Shard(1, 2), {"ecommerce-operator-staging": None, "other": None}, False),
    ],
)
async def test_a_shard_waits_while_one_of_another_number_of_shards_may_have_the_same_shops(
    own: Shard, held: dict[str, str | None], *, is_waiting: bool
) -> None:
    shards = Shards()
    shards.held = held
    assert await waits(shards.seen_from(own).wait_for_resharding()) is is_waiting


async def test_a_shard_that_cannot_see_the_others_waits() -> None:
    shards = Shards()
    shards.failures = 3
    assert not await waits(shards.seen_from(Shard(1, 2)).wait_for_resharding())
    assert shards.now == 100.0 + 3 * CHECK_INTERVAL


def test_each_class_has_its_own_lease() -> None:
    assert (lease_name(""), lease_name("staging")) == ("ecommerce-operator", "ecommerce-operator-staging")
