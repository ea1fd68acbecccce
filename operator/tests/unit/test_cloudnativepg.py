"""Databases that CloudNativePG runs: what is applied, when they are ready, what hibernates and what is deleted, and the
rotation of their owners."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from rotation_harness import RotatingShop
from test_master_key import NEXT, key_ids, move
from test_reconciler import DEPLOYMENT, JOB, KEY, NOW, FakeCluster, FakeHelm, Manifest, rendered

from platform_operator.api.kinds import LABEL_INSTANCE, LABEL_PLATFORM, PLATFORM, Kind, ObjectId, PlatformKey
from platform_operator.api.spec import WITH_DATABASE, parse
from platform_operator.cache.observed import Workload, observe, platform_of
from platform_operator.plan.hibernation import has_pods
from platform_operator.render.values import Installation, chart_values
from platform_operator.secrets.credentials import derived_secrets
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.store_tls import StoreTls, own_stores
from platform_operator.settings import Settings

CLUSTER = ObjectId("Cluster", "shop-order-db")
SPEC: dict[str, Any] = {"databases": {"provider": "cnpg"}}
EXTERNAL: dict[str, Any] = {
    "databases": {
        "provider": "external",
        "external": {service: {"secretRef": {"name": service}} for service in WITH_DATABASE},
    }
}
HEALTHY = {"phase": "Cluster in healthy state", "instances": 2, "readyInstances": 2}


class ClusterHelm(FakeHelm):
    """A Helm whose chart has a Cluster in place of the StatefulSet."""

    instances = 2

    async def template(self, chart: Path, key: PlatformKey, chart_values: Manifest) -> list[Manifest]:
        hibernated = chart_values["global"].get("hibernated", "")
        *more, _, job, deployment = await super().template(chart, key, chart_values)
        deployment["spec"]["replicas"] = 0 if hibernated else 1
        spec = {"instances": self.instances, "imageName": "a:17"}
        store = rendered("postgresql.cnpg.io/v1", CLUSTER.kind, CLUSTER.name, 1, spec)
        store["metadata"]["annotations"]["cnpg.io/hibernation"] = "on" if hibernated == "All" else "off"
        return [*more, store, deployment] if hibernated else [*more, store, job, deployment]


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    made = FakeCluster(tmp_path)
    made.helm = ClusterHelm()
    made.restart()
    made.spec(SPEC)
    return made


def report(cluster: FakeCluster, **status: Any) -> None:
    """Writes the status of the Cluster, as CloudNativePG does."""
    stored = cluster.server.objects[CLUSTER]
    stored["status"] = status
    cluster.server.touch(stored)


async def start(cluster: FakeCluster) -> None:
    await cluster.reconcile()
    report(cluster, **HEALTHY)
    await cluster.reconcile()
    cluster.come_up(JOB)
    await cluster.reconcile()
    cluster.come_up(DEPLOYMENT)
    await cluster.reconcile()


async def test_a_migration_waits_until_all_instances_are_ready_and_the_message_has_the_phase(
    cluster: FakeCluster,
) -> None:
    await cluster.reconcile()
    report(cluster, phase="Creating a new replica", phaseReason="shop-order-db-2", instances=2, readyInstances=1)
    await cluster.reconcile()
    assert JOB not in cluster.server.objects
    message = "Cluster shop-order-db: has 1 of 2 pods ready: Creating a new replica: shop-order-db-2"
    assert message in cluster.message("Ready")
    report(cluster, **HEALTHY)
    await cluster.reconcile()
    assert JOB in cluster.server.objects


FINAL_PHASES = (
    "Waiting for user action",
    "Cluster is unrecoverable and needs manual intervention",
    "Cluster has incomplete or invalid image catalog",
    "Cluster cannot proceed to reconciliation due to an unknown plugin being required",
    "Cluster cannot execute instance online upgrade due to missing architecture binary",
)


@pytest.mark.parametrize("phase", FINAL_PHASES)
async def test_a_phase_that_waiting_does_not_end_is_reported_at_once(cluster: FakeCluster, phase: str) -> None:
    await cluster.reconcile()
    report(cluster, phase=phase, phaseReason="the reason")
    await cluster.reconcile()
    assert f"{phase}: the reason" in cluster.message("Degraded")


async def test_what_cloudnativepg_retries_is_waited_for_with_its_reason(cluster: FakeCluster) -> None:
    await cluster.reconcile()
    reason = "missing specified server TLS secret shop-order-db-tls"
    report(cluster, phase="Unable to create required cluster objects", phaseReason=reason)
    await cluster.reconcile()
    assert f"Unable to create required cluster objects: {reason}" in cluster.message("Ready")
    assert reason not in cluster.message("Degraded")


async def test_a_cluster_of_which_nothing_is_reported_asks_for_cloudnativepg(cluster: FakeCluster) -> None:
    await cluster.reconcile()
    assert "CloudNativePG has not reported about it: see whether it runs" in cluster.message("Ready")


@pytest.mark.parametrize(
    ("instances", "ready", "target", "serves"),
    [(3, 2, "a", True), (3, 1, "a", False), (2, 1, "a", True), (2, 0, "a", False), (3, 2, "pending", False)],
)
async def test_a_service_is_changed_while_its_database_serves_without_one_instance(
    cluster: FakeCluster, instances: int, ready: int, target: str, serves: bool
) -> None:
    """Before the shop is ready: with an instance away, the migration runs as soon as the database serves."""
    assert isinstance(cluster.helm, ClusterHelm)
    cluster.helm.instances = instances
    await cluster.reconcile()
    primary = {"currentPrimary": "a", "targetPrimary": target}
    report(cluster, phase="Waiting for the instances to become active", readyInstances=ready, **primary)
    await cluster.reconcile()
    assert (JOB in cluster.server.objects) == serves
    assert f"has {ready} of {instances} pods ready" in cluster.message("Ready")


async def test_lost_data_is_restored_by_a_backup_and_not_in_a_pod(cluster: FakeCluster) -> None:
    await start(cluster)
    stored = cluster.server.objects[JOB]
    failed = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}
    stored["status"] = {"conditions": [failed]}
    cluster.server.touch(stored)
    await cluster.reconcile()
    message = cluster.message("Degraded")
    assert "Restore a backup: render charts/backup with job={restore,--only,order}; then kubectl" in message
    assert "exec" not in message


async def test_the_status_names_the_provider_and_what_is_ready(cluster: FakeCluster) -> None:
    await start(cluster)
    rows = cluster.server.objects[PLATFORM.kind, "shop"]["status"]["databases"]
    order = next(row for row in rows if row["name"] == "order-db")
    assert (order["provider"], order["ready"]) == ("cnpg", True)


async def test_a_cluster_has_no_owner_and_no_label_by_which_others_prune_it(cluster: FakeCluster) -> None:
    """Volumes go with a Cluster: the garbage collector and Argo CD must not take it for a part of the platform."""
    await cluster.reconcile()
    stored = cluster.server.objects[CLUSTER]
    assert "ownerReferences" not in stored["metadata"]
    assert LABEL_INSTANCE not in stored["metadata"]["labels"]
    assert stored["metadata"]["labels"][LABEL_PLATFORM] == "shop"
    assert platform_of(stored) == KEY


@pytest.mark.parametrize(("policy", "stays"), [("Retain", True), ("Delete", False)])
async def test_a_cluster_follows_the_deletion_policy(cluster: FakeCluster, policy: str, stays: bool) -> None:
    cluster.spec(SPEC | {"deletionPolicy": policy})
    await start(cluster)
    cluster.spec(SPEC | {"deletionPolicy": policy}, deletionTimestamp=NOW.isoformat())
    await cluster.reconcile()
    assert (CLUSTER in cluster.server.objects) == stays


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_cluster_that_the_charts_no_longer_render_is_never_pruned(cluster: FakeCluster, policy: str) -> None:
    await start(cluster)
    cluster.helm = FakeHelm()
    cluster.restart()
    cluster.spec(EXTERNAL | {"deletionPolicy": policy})
    await cluster.converge()
    await cluster.reconcile()
    assert CLUSTER in cluster.server.objects


async def recreate(cluster: FakeCluster, spec: dict[str, Any], helm: FakeHelm) -> None:
    """Leaves of a shop only its Clusters and volumes, and creates one of the same name."""
    for identity in [one for one in cluster.server.objects if one[0] in ("StatefulSet", "Deployment", "Job")]:
        del cluster.server.objects[identity]
    cluster.helm = helm
    cluster.restart()
    cluster.spec(spec)
    await cluster.reconcile()


async def test_a_builtin_database_is_not_made_beside_a_cluster_of_an_earlier_shop(cluster: FakeCluster) -> None:
    await start(cluster)
    await recreate(cluster, {}, FakeHelm())
    assert "Cluster shop-order-db has data of an earlier shop" in cluster.message("Degraded")
    assert "set deletionPolicy to Retain, delete EcommercePlatform shop, and create it" in cluster.message("Degraded")
    assert ("StatefulSet", CLUSTER.name) not in cluster.server.objects
    del cluster.server.objects[CLUSTER]
    cluster.restart()
    await cluster.reconcile()
    assert ("StatefulSet", CLUSTER.name) in cluster.server.objects


async def test_a_cluster_is_not_made_beside_the_volume_of_a_builtin_database(cluster: FakeCluster) -> None:
    cluster.server.volumes = [{"metadata": {"name": "data-shop-order-db-0", "uid": "v"}}]
    requeue = await cluster.reconcile()
    assert "PersistentVolumeClaim data-shop-order-db-0 has data of an earlier shop" in cluster.message("Degraded")
    assert CLUSTER not in cluster.server.objects
    assert requeue.delay, "no event tells that a volume is deleted"
    cluster.server.volumes = []
    await cluster.reconcile()
    assert CLUSTER in cluster.server.objects


def test_a_cluster_of_an_earlier_shop_does_not_keep_one_with_external_databases_from_hibernating() -> None:
    metadata = {"name": CLUSTER.name, "uid": "u", "resourceVersion": "1"}
    left = {CLUSTER: observe({"kind": "Cluster", "metadata": metadata, "spec": {"instances": 2}, "status": HEALTHY})}
    assert not has_pods(left, parse(EXTERNAL))
    assert has_pods(left, parse(SPEC))


async def test_a_hibernated_shop_stops_its_services_first_and_then_its_clusters(cluster: FakeCluster) -> None:
    def hibernation() -> str:
        return str(cluster.server.objects[CLUSTER]["metadata"]["annotations"]["cnpg.io/hibernation"])

    await start(cluster)
    cluster.spec(SPEC | {"hibernated": True})
    await cluster.reconcile()
    assert hibernation() == "off", "the database serves until the last service has ended"
    stored = cluster.server.objects[DEPLOYMENT]
    stored["status"] |= dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 0)
    stored["status"]["observedGeneration"] = stored["metadata"]["generation"]
    cluster.server.touch(stored)
    await cluster.reconcile()
    assert hibernation() == "on"
    report(cluster, **HEALTHY | {"phase": "Failing over", "readyInstances": 1})
    await cluster.reconcile()
    assert "These have still to stop: Cluster shop-order-db (Failing over)." in cluster.message("Hibernated")
    report(cluster, **HEALTHY | {"conditions": [{"type": "cnpg.io/hibernation", "status": "True"}]})
    await cluster.reconcile()
    conditions = cluster.server.objects[PLATFORM.kind, "shop"]["status"]["conditions"]
    assert next(one["status"] for one in conditions if one["type"] == "Hibernated") == "True"


def test_a_hibernated_cluster_has_pods_until_its_condition_says_that_they_are_gone() -> None:
    def state(**status: Any) -> Workload:
        metadata = {"name": CLUSTER.name, "uid": "u", "resourceVersion": "1"}
        metadata |= {"annotations": {"cnpg.io/hibernation": "on"}}  # type: ignore[dict-item]
        seen = observe({"kind": "Cluster", "metadata": metadata, "spec": {"instances": 2}, "status": status})
        assert has_pods({CLUSTER: seen}, parse(SPEC)) == (status != GONE)
        assert isinstance(seen.state, Workload)
        return seen.state

    assert state(**HEALTHY).desired == 0
    assert state(**GONE).total == 0


GONE = HEALTHY | {"readyInstances": 0, "conditions": [{"type": "cnpg.io/hibernation", "status": "True"}]}


@pytest.mark.parametrize(("profile", "instances"), [("small", 1), ("medium", 2), ("large", 3)])
def test_the_profile_of_the_spec_gives_the_instances_and_that_of_the_stores_their_size(
    profile: str, instances: int
) -> None:
    values = chart_values(KEY, parse(SPEC | {"profile": profile}), Installation("1"), "small")
    assert (values["order-db"]["provider"], values["order-db"]["instances"]) == ("cnpg", instances)
    assert values["order-db"]["storage"]["size"] == "1Gi"
    assert values["order-db"]["cloudNativePgNamespace"] == "cnpg-system"
    assert "provider" not in chart_values(KEY, parse({}), Installation("1"), "small")["order-db"]


def test_the_namespace_of_cloudnativepg_is_that_of_the_installation() -> None:
    settings = Settings.from_environment({"OPERATOR_VERSION": "1", "CLOUDNATIVEPG_NAMESPACE": "db"})
    installation = Installation("1", cloudnativepg_namespace=settings.cloudnativepg_namespace)
    assert chart_values(KEY, parse(SPEC), installation, "small")["order-db"]["cloudNativePgNamespace"] == "db"


def test_pools_fit_the_connections_of_a_cluster_and_its_roles_rotate() -> None:
    spec = parse(SPEC | {"services": {"order": {"replicas": 20}}})
    step: dict[str, str | int] = {"step": "Use", "generation": 1}
    values = chart_values(KEY, spec, Installation("1"), "small", migration_rotation={"rotation": step})
    assert int(values["order"]["env"]["DB_POOL_SIZE"]) < 10
    assert values["order"]["migration"]["rotation"] == step


def secrets_of(spec: dict[str, Any]) -> dict[str, Manifest]:
    parsed = parse(spec)
    tls = StoreTls(frozenset(own_stores(parsed)), "", datetime(2026, 11, 29, tzinfo=UTC))
    made = derived_secrets(KEY, parsed, KeyRing(MasterKey(b"k" * 32)), tls).values()
    return {one.id.name: one.manifest for one in made}


def decoded(secret: Manifest) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


@pytest.mark.parametrize("service", WITH_DATABASE)
def test_services_connect_to_the_primary_and_verify_its_name(service: str) -> None:
    secrets, host = secrets_of(SPEC), f"shop-{service}-db-rw"
    certificate = x509.load_pem_x509_certificate(decoded(secrets[f"shop-{service}-db-tls"])["tls.crt"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {host, f"{host}.shop.svc"} <= set(names.get_values_for_type(x509.DNSName))
    for secret in (secrets[f"shop-{service}-db"], secrets[f"shop-{service}-db-runtime"]):
        assert decoded(secret)["DB_HOST"] == host
        assert decoded(secret)["DB_CA"] == decoded(secrets["shop-ca"])["ca.crt"]


def test_cloudnativepg_gets_the_owner_and_takes_over_a_renewed_certificate() -> None:
    secrets = secrets_of(SPEC)
    owner, role = decoded(secrets["shop-order-db"]), decoded(secrets["shop-order-db-runtime"])
    assert (owner["username"], owner["password"]) == (owner["DB_USER"], owner["DB_PASSWORD"])
    assert not {"username", "password"} & role.keys()
    read = {name for name, secret in secrets.items() if "cnpg.io/reload" in secret["metadata"]["labels"]}
    assert read == {f"shop-{service}-db{part}" for service in WITH_DATABASE for part in ("", "-tls")}


def test_the_certificates_and_passwords_of_builtin_databases_are_not_affected() -> None:
    secrets, others = secrets_of({}), secrets_of(SPEC)
    assert "username" not in decoded(secrets["shop-order-db"])
    assert not any("cnpg.io/reload" in secret["metadata"]["labels"] for secret in secrets.values())
    serials = {
        x509.load_pem_x509_certificate(decoded(one["shop-order-db-tls"])["tls.crt"].encode()).serial_number
        for one in (secrets, others)
    }
    assert len(serials) == 2, "an authority gives each certificate a number of its own"


async def shop_of_clusters(path: Path, *, takes_over: bool) -> RotatingShop:
    """Returns a shop whose databases CloudNativePG runs. If it `takes_over`, it sets the passwords of owners as soon as
    their Secrets have changed, before any migration runs; else it is away."""
    shop = RotatingShop.new(path)
    apply = shop.cluster.server.apply

    async def apply_and_set_password(kind: Kind, namespace: str, manifest: Manifest, *rest: Any, **named: Any) -> Any:
        answer = await apply(kind, namespace, manifest, *rest, **named)
        service, _, component = manifest["metadata"]["name"].removeprefix("shop-").partition("-")
        if kind.kind == "Secret" and component == "db":
            shop.owners[service] = decoded(manifest)["password"]
        return answer

    if takes_over:
        shop.cluster.server.apply = apply_and_set_password  # type: ignore[method-assign]
    shop.cluster.spec(SPEC)
    await shop.settle()
    return shop


@pytest.mark.parametrize("takes_over", [True, False], ids=["CloudNativePG is first", "the migration is first"])
async def test_the_owner_of_a_cluster_gets_its_next_password_from_cloudnativepg_or_its_migration(
    tmp_path: Path, takes_over: bool
) -> None:
    shop = await shop_of_clusters(tmp_path, takes_over=takes_over)
    first = dict(shop.owners)
    shop.ask("owners:first", **SPEC)
    await shop.reach("Use")
    await shop.reconcile()
    amid = shop.secret("order-db")
    assert (amid["password"], amid["DB_PREVIOUS_PASSWORD"]) == (amid["DB_PASSWORD"], first["order"])
    await shop.finish()
    assert shop.states() == {"owners": (1, "Done")}
    assert shop.owners.keys() == {*WITH_DATABASE}
    for service, password in shop.owners.items():
        stored = shop.secret(f"{service}-db")
        assert first[service] != password == shop.proven[service] == stored["DB_PASSWORD"] == stored["password"]
        assert "DB_PREVIOUS_PASSWORD" not in stored


async def test_a_shop_of_clusters_needs_no_former_master_key_once_it_has_moved(tmp_path: Path) -> None:
    shop = await shop_of_clusters(tmp_path, takes_over=True)
    await move(shop)
    assert set(key_ids(shop).values()) == {NEXT}
    assert shop.cluster.condition("Rotating") == ("False", "Rotated")
