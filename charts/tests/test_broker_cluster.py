"""The broker as a RabbitmqCluster: what the chart states of it, beside what the RabbitMQ cluster operator makes."""

import json
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import yaml

Manifest: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[..., list[Manifest]]

CLUSTER = {"rabbitmq.provider": "rabbitmq-operator", "rabbitmq.nodes": "3"}
LABEL = "app.kubernetes.io/"


def rendered(render: Render, secrets: str, **more: str) -> list[Manifest]:
    """Renders the platform with a broker of three nodes."""
    values = CLUSTER | more
    return render(
        "platform", "--values", secrets, *(part for one in values.items() for part in ("--set", "=".join(one)))
    )


def named(manifests: list[Manifest], kind: str, name: str = "shop-rabbitmq") -> Manifest:
    """Returns the one manifest of this kind and name."""
    (found,) = [one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pod_of(manifests: list[Manifest]) -> Manifest:
    """Returns what the cluster states of its pods."""
    pod: Manifest = named(manifests, "RabbitmqCluster")["spec"]["override"]["statefulSet"]["spec"]["template"]
    return pod


def configuration(manifests: list[Manifest]) -> dict[str, str]:
    """Returns what the nodes read after the configuration of the cluster operator."""
    text = named(manifests, "RabbitmqCluster")["spec"]["rabbitmq"]["additionalConfig"]
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split(" = ", 1) for line in lines)


def test_a_cluster_takes_the_place_of_the_stateful_set_and_of_the_service(render: Render, secrets: str) -> None:
    manifests = rendered(render, secrets)
    assert named(manifests, "RabbitmqCluster")["spec"]["replicas"] == 3
    made = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    assert not made & {("StatefulSet", "shop-rabbitmq"), ("Service", "shop-rabbitmq")}


@pytest.mark.parametrize(("policy", "kept"), [("Retain", True), ("Delete", False)])
def test_helm_and_argo_cd_leave_a_cluster_with_its_volumes_unless_the_policy_is_delete(
    render: Render, secrets: str, policy: str, kept: bool
) -> None:
    cluster = named(rendered(render, secrets, **{"global.deletionPolicy": policy}), "RabbitmqCluster")
    keep = {"helm.sh/resource-policy": "keep", "argocd.argoproj.io/sync-options": "Prune=false"}
    assert (keep.items() <= cluster["metadata"]["annotations"].items()) == kept
    assert bool(keep.keys() & cluster["metadata"]["annotations"].keys()) == kept


def test_a_hibernated_cluster_has_no_nodes_and_stays(render: Render, secrets: str) -> None:
    replicas = {
        step: named(rendered(render, secrets, **{"global.hibernated": step}), "RabbitmqCluster")["spec"]["replicas"]
        for step in ("Services", "All")
    }
    assert replicas == {"Services": 3, "All": 0}


def test_every_container_of_a_node_meets_the_restricted_level(render: Render, secrets: str) -> None:
    pod = pod_of(rendered(render, secrets))["spec"]
    containers = {one["name"]: one for one in (*pod["initContainers"], *pod["containers"])}
    assert set(containers) == {"setup-container", "listeners", "rabbitmq"}
    for container in containers.values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_clients_find_tls_at_the_port_of_every_other_broker_and_nothing_else(render: Render, secrets: str) -> None:
    manifests = rendered(render, secrets)
    spec = named(manifests, "RabbitmqCluster")["spec"]
    assert spec["tls"] == {"secretName": "shop-rabbitmq-tls", "disableNonTLSListeners": True}
    assert set(named(manifests, "Secret", "shop-rabbitmq-tls")["data"]) == {"ca.crt", "tls.crt", "tls.key"}
    settings = configuration(manifests)
    assert settings["listeners.ssl.clients"] == "5672"
    assert not [name for name in settings if name.startswith("listeners.tcp")]
    assert settings["management.tcp.ip"] == "127.0.0.1"
    (port,) = spec["override"]["service"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (5672, 5672)


def test_a_plain_cluster_has_no_certificate(render: Render, secrets: str) -> None:
    manifests = rendered(render, secrets, **{"global.tls.plainStores[0]": "rabbitmq"})
    assert "tls" not in named(manifests, "RabbitmqCluster")["spec"]
    assert configuration(manifests)["listeners.tcp.default"] == "5672"


@pytest.mark.parametrize(("plain", "names"), [("", ["clients", "metrics"]), ("rabbitmq", ["metrics"])])
def test_the_port_that_the_cluster_operator_probes_keeps_its_name(
    render: Render, secrets: str, plain: str, names: list[str]
) -> None:
    """Ports are merged by their number: 5672 is that operator's own port `amqp` where there is no TLS."""
    more = {"global.tls.plainStores[0]": plain} if plain else {}
    (container,) = pod_of(rendered(render, secrets, **more))["spec"]["containers"]
    assert [port["name"] for port in container["ports"]] == names


def test_every_queue_gets_a_replica_on_each_node(render: Render, secrets: str) -> None:
    prefix = "quorum_queue.continuous_membership_reconciliation"
    settings = configuration(rendered(render, secrets))
    assert settings[f"{prefix}.enabled"] == "true"
    assert settings[f"{prefix}.target_group_size"] == "3"
    defined = definitions(rendered(render, secrets))
    assert {queue["arguments"]["x-queue-type"] for queue in defined["queues"]} == {"quorum"}


def definitions(manifests: list[Manifest]) -> Any:
    """Returns the definitions that the nodes import, without passwords."""
    return json.loads(named(manifests, "ConfigMap")["data"]["definitions.json"])


def test_the_definitions_are_those_of_one_node_and_dead_letters_survive_the_loss_of_a_node(
    render: Render, secrets: str
) -> None:
    alone = definitions(render("platform", "--values", secrets))
    cluster = definitions(rendered(render, secrets))
    (policy,) = cluster.pop("policies")
    assert cluster == alone
    limited = [one["name"] for one in alone["queues"] if "x-delivery-limit" in one["arguments"]]
    assert policy["pattern"] == f"^({'|'.join(limited)})$"
    assert policy["definition"] == {"dead-letter-strategy": "at-least-once", "overflow": "reject-publish"}


def test_the_nodes_read_the_users_of_the_services_as_one_node_does(render: Render, secrets: str) -> None:
    single = named(render("platform", "--values", secrets), "StatefulSet")["spec"]["template"]["spec"]
    pod = pod_of(rendered(render, secrets))["spec"]
    (node,), (alone,) = pod["containers"], single["containers"]
    assert (node["command"], node["args"]) == (alone["command"], alone["args"])
    volumes = {volume["name"]: volume for volume in single["volumes"]}
    assert pod["volumes"] == [volumes[one["name"]] for one in pod["volumes"]]
    assert set(volumes) - {one["name"] for one in pod["volumes"]} == {"tls"}


def test_budget_and_policy_select_the_nodes_and_each_node_has_a_service_for_its_metrics(
    render: Render, secrets: str
) -> None:
    manifests = rendered(render, secrets)
    labels = pod_of(manifests)["metadata"]["labels"]
    for selector in (
        named(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        named(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert f"{LABEL}name" not in labels, "the StatefulSet selects by it"
    assert f"{LABEL}part-of" not in labels, "the cluster operator looks for its pods by it"
    for node in range(3):
        service = named(manifests, "Service", f"shop-rabbitmq-{node}")["spec"]
        assert service["selector"] == {"statefulset.kubernetes.io/pod-name": f"shop-rabbitmq-server-{node}"}
        assert [(port["name"], port["port"]) for port in service["ports"]] == [("metrics", 15692)]


def test_nodes_reach_each_other_and_the_api_server_and_only_clients_reach_them(render: Render, secrets: str) -> None:
    policy = named(rendered(render, secrets), "NetworkPolicy")["spec"]
    own = {"key": f"{LABEL}component", "operator": "In", "values": ["rabbitmq"]}
    clients, nodes, metrics = policy["ingress"]
    assert [port["port"] for port in clients["ports"]] == [5672]
    assert "rabbitmq" not in clients["from"][0]["podSelector"]["matchExpressions"][0]["values"]
    assert [port["port"] for port in metrics["ports"]] == ["metrics"]
    _, to_nodes, to_api = policy["egress"]
    for rule, peers in ((nodes, nodes["from"]), (to_nodes, to_nodes["to"])):
        assert [port["port"] for port in rule["ports"]] == [4369, 25672]
        assert [peer["podSelector"]["matchExpressions"] for peer in peers] == [[own]]
    assert to_api == {"ports": [{"port": 443, "protocol": "TCP"}, {"port": 6443, "protocol": "TCP"}]}


def test_pods_run_where_the_values_say(render: Render, secrets: str) -> None:
    manifests = rendered(
        render,
        secrets,
        **{
            "global.pods.nodeSelector.pool": "shops",
            "global.pods.tolerations[0].key": "shops",
            "global.pods.labels.team": "a",
            "global.image.pullSecrets[0]": "key",
        },
    )
    spec, pod = named(manifests, "RabbitmqCluster")["spec"], pod_of(manifests)
    assert spec["imagePullSecrets"] == [{"name": "key"}]
    assert spec["tolerations"] == [{"key": "shops"}]
    assert pod["spec"]["nodeSelector"] == {"pool": "shops"}
    assert pod["metadata"]["labels"]["team"] == "a"
    assert yaml.safe_dump(pod).count("topologyKey: kubernetes.io/hostname") == 1
