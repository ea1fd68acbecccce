"""A broker that the RabbitMQ cluster operator runs: its state, its size, its credentials and its metrics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from platform_operator.api.kinds import (
    BROKER_CLUSTER,
    CLUSTER_KINDS,
    LABEL_INSTANCE,
    LABEL_PLATFORM,
    ObjectId,
    PlatformKey,
)
from platform_operator.api.spec import WITH_BROKER, parse
from platform_operator.cache.observed import ObservedObject, Platform, ServiceAddress, Workload, observe
from platform_operator.cache.store import Cache
from platform_operator.errors import ApiError, ScrapeError
from platform_operator.invariants.scrape_results import sources
from platform_operator.invariants.scraper import InvariantScraper
from platform_operator.plan.inventory import DesiredObject
from platform_operator.plan.prune_guard import declared_removals
from platform_operator.plan.readiness import Blocker, Refusal, blocker
from platform_operator.render.renderer import desired_objects
from platform_operator.render.values import Installation, chart_values
from platform_operator.secrets.credentials import derived_secrets
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.store_tls import StoreTls, own_stores
from platform_operator.status.conditions import PassResult, degraded_condition

KEY = PlatformKey("shop", "shop")
CLUSTER = ObjectId(BROKER_CLUSTER, "shop-rabbitmq")
SPEC = {"broker": {"provider": "rabbitmq-operator"}}


def manifest(*conditions: tuple[str, str, str, str], replicas: int = 3, seen: int = 2) -> dict[str, Any]:
    """Returns a RabbitmqCluster of generation 2 with conditions: type, status, reason and message."""
    names = ("type", "status", "reason", "message")
    return {
        "kind": BROKER_CLUSTER,
        "metadata": {"name": CLUSTER.name, "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 2},
        "spec": {"replicas": replicas},
        "status": {
            "observedGeneration": seen,
            "conditions": [dict(zip(names, one, strict=True)) for one in conditions],
        },
    }


def blocked(stored: dict[str, Any]) -> Blocker | None:
    return blocker(DesiredObject(CLUSTER, 1, "", "{}"), {CLUSTER: observe(stored)})


DONE = ("ReconcileSuccess", "True", "Success", "Finish reconciling")
READY = ("AllReplicasReady", "True", "AllPodsAreReady", "")


def test_a_cluster_is_ready_when_all_nodes_are_and_its_operator_has_done_the_last_change() -> None:
    assert blocked(manifest(READY, DONE)) is None
    assert blocked(manifest(READY, DONE, seen=1)) is not None


def test_a_new_cluster_says_how_many_of_its_nodes_are_ready() -> None:
    starting = ("AllReplicasReady", "False", "NotAllPodsReady", "0/3 Pods ready")
    found = blocked(manifest(starting, ("ReconcileSuccess", "Unknown", "Initialising", ""), seen=0))
    assert found is not None
    assert found.message == "has 0 of 3 pods ready"


def test_a_lost_node_is_counted_with_the_cause_that_the_cluster_operator_gives() -> None:
    lost = ("AllReplicasReady", "False", "NotAllPodsReady", "2/3 Pods ready")
    cause = ("ReconcileSuccess", "False", "TLSError", "Secret shop-rabbitmq-tls not found")
    found = blocked(manifest(lost, cause))
    assert found is not None
    assert found.message == "has 2 of 3 pods ready: TLSError: Secret shop-rabbitmq-tls not found"
    assert not found.failed


def test_an_operation_that_the_cluster_operator_refuses_has_failed() -> None:
    refused = ("ReconcileSuccess", "False", "UnsupportedOperation", "Cluster Scale down not supported")
    found = blocked(manifest(READY, refused, seen=1))
    assert found is not None
    assert (found.failed, found.message) == (True, "UnsupportedOperation: Cluster Scale down not supported")


def test_a_cluster_of_which_nothing_is_reported_asks_for_its_operator() -> None:
    stored = manifest()
    del stored["status"]
    found = blocked(stored)
    assert found is not None
    assert found.message.endswith("the RabbitMQ cluster operator has not reported about it: see whether it runs")


@pytest.mark.parametrize("message", ["", "many", "9/3 Pods ready", "²/3"])
def test_what_a_condition_says_is_not_trusted(message: str) -> None:
    state = observe(manifest(("AllReplicasReady", "False", "NotAllPodsReady", message), DONE)).state
    assert isinstance(state, Workload)
    assert 0 <= state.ready <= 3


def test_a_hibernated_cluster_has_pods_until_it_is_scaled_to_zero() -> None:
    def pods(*condition: str) -> int:
        state = observe(manifest(("AllReplicasReady", *condition), DONE, replicas=0)).state  # type: ignore[arg-type]
        assert isinstance(state, Workload)
        return state.total

    assert pods("False", "NotAllPodsReady", "2/3 Pods ready") > 0
    assert pods("False", "ScaledToZero", "") == 0


@pytest.mark.parametrize(("profile", "nodes"), [("small", 1), ("medium", 3), ("large", 3)])
def test_the_profile_that_the_broker_was_made_with_says_how_many_nodes_it_has(profile: str, nodes: int) -> None:
    values = chart_values(KEY, parse({"profile": "large", **SPEC}), Installation("1"), profile)["rabbitmq"]
    assert (values["enabled"], values["provider"], values["nodes"]) == (True, "rabbitmq-operator", nodes)


def test_a_builtin_broker_is_rendered_as_before() -> None:
    assert not {"provider", "nodes"} & set(chart_values(KEY, parse({}), Installation("1"), "small")["rabbitmq"])


def test_the_users_of_a_cluster_are_those_of_a_builtin_broker_with_the_same_urls() -> None:
    def secrets(spec: dict[str, Any]) -> dict[str, Any]:
        tls = StoreTls(frozenset(own_stores(parse(spec))), "", datetime(2026, 11, 29, tzinfo=UTC))
        found = derived_secrets(KEY, parse(spec), KeyRing(MasterKey(b"k" * 32)), tls).values()
        return {one.id.name: one.manifest["data"] for one in found}

    cluster = secrets(SPEC)
    assert cluster == secrets({})
    assert {f"shop-{service}-broker" for service in WITH_BROKER} | {"shop-rabbitmq-tls"} <= set(cluster)


def test_no_deletion_of_a_platform_or_of_its_spec_takes_the_volumes_of_a_cluster() -> None:
    labels = {LABEL_INSTANCE: "shop"}
    rendered = {"apiVersion": "rabbitmq.com/v1beta1", "kind": BROKER_CLUSTER, "metadata": {"name": CLUSTER.name}}
    rendered["metadata"] |= {"labels": labels, "annotations": {}}  # type: ignore[operator]
    (made,) = desired_objects([rendered], KEY, "uid")
    assert "ownerReferences" not in made.manifest["metadata"]
    assert made.manifest["metadata"]["labels"] == {LABEL_PLATFORM: "shop"}
    assert BROKER_CLUSTER in CLUSTER_KINDS
    assert not declared_removals(KEY, parse(SPEC)).explain(CLUSTER)


def test_a_missing_add_on_is_named() -> None:
    refusal = Refusal(CLUSTER, ApiError(404, "NotFound", "the server could not find the requested resource"))
    condition = degraded_condition(KEY, PassResult(refusals=(refusal,)), "builtin")
    assert condition.message.startswith("The RabbitMQ cluster operator is not installed: ")


class Nodes:
    """A shop whose broker has three nodes, each of which counts the queues that it leads."""

    def __init__(self) -> None:
        self.answers = {
            "10.0.0.0": 'rabbitmq_detailed_queue_messages{queue="order.dead"} 2\n',
            "10.0.0.1": 'rabbitmq_detailed_queue_messages{queue="payment.dead"} 1\n',
            "10.0.0.2": "",
        }
        cache = Cache()
        cache.store_platform(Platform(KEY, "u", 1, 1, False, SPEC, {}))
        for node, address in enumerate(self.answers):
            service = ObjectId("Service", f"shop-rabbitmq-{node}")
            state = ServiceAddress(address, {"metrics": 15692})
            cache.store(KEY, ObservedObject(service, "u", 1, "", "", False, state))
        self.scraper = InvariantScraper(cache, lambda key: None, self.fetch, lambda: 1e9)

    async def fetch(self, url: str) -> str:
        assert url.endswith(":15692/metrics/detailed?family=queue_coarse_metrics")
        address = url.split("/")[2].split(":")[0]
        if address not in self.answers:
            raise ScrapeError("down")
        return self.answers[address]

    async def dead_letters(self) -> Any:
        await self.scraper.scrape_all()
        found = self.scraper.results(KEY)["rabbitmq"].metrics
        return found and found.dead_letters


async def test_the_dead_letters_of_all_nodes_are_summed_up() -> None:
    assert "rabbitmq" in sources(parse(SPEC))
    assert await Nodes().dead_letters() == {"order.dead": 2, "payment.dead": 1}


async def test_the_nodes_that_answer_are_enough_and_none_is_not() -> None:
    nodes = Nodes()
    del nodes.answers["10.0.0.1"]
    assert await nodes.dead_letters() == {"order.dead": 2}
    nodes.answers.clear()
    assert await nodes.dead_letters() is None
