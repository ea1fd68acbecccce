"""Databases that CloudNativePG runs: what the charts ask of it, and the connections that they allow."""

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_charts import CLUSTERS, Manifest, Render, named, of_kind, render_platform, set_json

DATABASE = "shop-order-db"


def cluster_of(render: Render, secrets: str, values: dict[str, str], name: str = DATABASE) -> Manifest:
    return named(render_platform(render, secrets, CLUSTERS | values), "Cluster", name)


def decoded(secret: Manifest) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


def test_a_cluster_takes_the_place_of_the_pod_with_its_volume_and_service(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, CLUSTERS)
    assert len(of_kind(manifests, "Cluster")) == 7
    assert not [one for one in of_kind(manifests, "StatefulSet", "Service") if one["metadata"]["name"] == DATABASE]
    spec = named(manifests, "Cluster", DATABASE)["spec"]
    assert (spec["storage"], spec["imageName"]) == ({"size": "1Gi"}, "postgres:17")
    assert spec["postgresql"]["parameters"]["max_connections"] == "60"


@pytest.mark.parametrize(("policy", "kept"), [("Retain", True), ("Delete", False)])
def test_helm_and_argo_cd_leave_it_with_its_volumes_unless_the_policy_is_delete(
    render: Render, secrets: str, policy: str, kept: bool
) -> None:
    annotations = cluster_of(render, secrets, {"global.deletionPolicy": policy})["metadata"]["annotations"]
    keep = {"helm.sh/resource-policy": "keep", "argocd.argoproj.io/sync-options": "Prune=false"}
    assert (keep.items() <= annotations.items()) == kept
    assert bool(keep.keys() & annotations.keys()) == kept


def test_its_owner_makes_the_runtime_role_and_services_log_in_to_the_primary(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, CLUSTERS)
    owner = decoded(named(manifests, "Secret", DATABASE))
    initdb = named(manifests, "Cluster", DATABASE)["spec"]["bootstrap"]["initdb"]
    assert (initdb["owner"], initdb["database"], initdb["secret"]) == ("orders", "orders_db", {"name": DATABASE})
    assert (owner["username"], owner["password"]) == (owner["DB_USER"], owner["DB_PASSWORD"])
    assert initdb["postInitSQL"] == ['ALTER ROLE "orders" CREATEROLE', 'GRANT pg_signal_backend TO "orders"']
    role = decoded(named(manifests, "Secret", f"{DATABASE}-runtime"))
    assert owner["DB_HOST"] == role["DB_HOST"] == f"{DATABASE}-rw"
    assert "username" not in role, "CloudNativePG needs no other role"


def test_it_has_the_shops_certificate_for_its_primary_and_refuses_plain_connections(
    render: Render, secrets: str, tmp_path: Path
) -> None:
    manifests = render_platform(render, secrets, CLUSTERS)
    spec, certificate = named(manifests, "Cluster", DATABASE)["spec"], f"{DATABASE}-tls"
    assert spec["certificates"] == {"serverTLSSecret": certificate, "serverCASecret": certificate}
    assert spec["postgresql"]["pg_hba"] == ["hostnossl all all all reject"]
    file = tmp_path / "tls.crt"
    file.write_text(decoded(named(manifests, "Secret", certificate))["tls.crt"])
    shown = subprocess.run(
        ["openssl", "x509", "-in", file, "-noout", "-checkhost", f"{DATABASE}-rw"], capture_output=True, text=True
    )
    assert "does match" in shown.stdout


def test_a_stop_does_not_wait_for_the_connections_that_services_keep(render: Render, secrets: str) -> None:
    assert cluster_of(render, secrets, {})["spec"]["smartShutdownTimeout"] == 0


def test_a_plain_one_has_the_certificate_of_cloudnativepg(render: Render, secrets: str) -> None:
    spec = cluster_of(render, secrets, {"global.tls.plainStores[0]": "order-db"})["spec"]
    assert "certificates" not in spec
    assert "pg_hba" not in spec["postgresql"]


def test_a_committed_order_is_on_two_servers_and_a_drain_never_waits_for_the_only_one(
    render: Render, secrets: str
) -> None:
    three, two, one = (
        named(render_platform(render, secrets, CLUSTERS), "Cluster", f"shop-{name}-db")["spec"]
        for name in ("order", "payment", "user")
    )
    assert [spec["instances"] for spec in (three, two, one)] == [3, 2, 1]
    assert three["postgresql"]["synchronous"] == {"method": "any", "number": 1, "dataDurability": "required"}
    assert two["postgresql"]["synchronous"]["dataDurability"] == "preferred"
    assert "synchronous" not in one["postgresql"]
    assert [spec["enablePDB"] for spec in (three, two, one)] == [True, True, False]
    assert (three["primaryUpdateMethod"], "primaryUpdateMethod" in one) == ("switchover", False)


@pytest.mark.parametrize(("hibernated", "annotation"), [("", "off"), ("Services", "off"), ("All", "on")])
def test_it_is_hibernated_after_the_services(render: Render, secrets: str, hibernated: str, annotation: str) -> None:
    metadata = cluster_of(render, secrets, {"global.hibernated": hibernated})["metadata"]
    assert metadata["annotations"]["cnpg.io/hibernation"] == annotation


def test_scheduling_of_the_shop_reaches_its_pods(render: Render, secrets: str) -> None:
    term = {"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}
    affinity = {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]},
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
    }
    pods: dict[str, Any] = {"nodeSelector": {"pool": "shops"}, "affinity": affinity, "priorityClassName": "high"}
    path, value = set_json("global.pods", pods | {"labels": {"team": "a"}, "annotations": {"note": "b"}})
    manifests = render(
        "platform", "--values", secrets, path, value, *(f"--set={name}={one}" for name, one in CLUSTERS.items())
    )
    spec = named(manifests, "Cluster", DATABASE)["spec"]
    assert spec["affinity"] == {
        "nodeSelector": {"pool": "shops"},
        "nodeAffinity": affinity["nodeAffinity"],
        "additionalPodAntiAffinity": affinity["podAntiAffinity"],
    }
    assert spec["priorityClassName"] == "high"
    inherited = spec["inheritedMetadata"]
    assert (inherited["labels"]["team"], inherited["annotations"]) == ("a", {"note": "b"})


def test_policies_admit_its_clients_its_servers_and_cloudnativepg_and_no_other(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, CLUSTERS)
    policy, labels = named(manifests, "NetworkPolicy", DATABASE)["spec"], "app.kubernetes.io/"
    pods = named(manifests, "Cluster", DATABASE)["spec"]["inheritedMetadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= pods.items()
    assert pods[f"{labels}part-of"] == "ecommerce", "which the policy that denies the rest selects"

    def ports(rule: Manifest) -> list[Any]:
        return [one["port"] for one in rule["ports"]]

    def components(rule: Manifest) -> list[str]:
        (peer,) = rule["from"] if "from" in rule else rule["to"]
        return list(peer["podSelector"]["matchExpressions"][0]["values"])

    clients, status, operator = policy["ingress"]
    assert (ports(clients), components(clients)) == ([5432], ["order", "order-migrate", "order-db"])
    assert (ports(status), components(status)) == ([8000], ["order-db"])
    assert ports(operator) == [8000, 5432]
    (peer,) = operator["from"]
    assert peer["podSelector"] == {"matchLabels": {f"{labels}name": "cloudnative-pg"}}
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "cnpg-system"}}
    _, servers, api_server = policy["egress"]
    assert (ports(servers), components(servers)) == ([5432, 8000], ["order-db"])
    assert (ports(api_server), "to" in api_server) == ([443, 6443], False)


@pytest.mark.parametrize(
    ("namespace", "selector"), [("db", {"matchLabels": {"kubernetes.io/metadata.name": "db"}}), ("", {})]
)
def test_cloudnativepg_is_admitted_from_its_namespace_alone(
    render: Render, secrets: str, namespace: str, selector: Manifest
) -> None:
    values = CLUSTERS | {"order-db.cloudNativePgNamespace": namespace}
    policy = named(render_platform(render, secrets, values), "NetworkPolicy", DATABASE)["spec"]
    assert policy["ingress"][2]["from"][0]["namespaceSelector"] == selector


def test_metrics_are_those_of_the_prometheus_operator_alone(render: Render, secrets: str) -> None:
    assert "monitoring" not in cluster_of(render, secrets, {})["spec"]
    values = {"global.monitoring.serviceMonitors": "true"}
    assert cluster_of(render, secrets, values)["spec"]["monitoring"] == {"enablePodMonitor": True}


def test_the_documented_version_is_the_one_that_the_kind_cluster_installs() -> None:
    root = Path(__file__).resolve().parents[2]
    module = (root / "hack/cluster/toolchain/cloudnative-pg/go.mod").read_text()
    dependencies = (root / "docs/dependencies.md").read_text()
    version = module.partition("github.com/cloudnative-pg/cloudnative-pg v")[2].split()[0]
    assert f"CloudNativePG {version}" in dependencies
