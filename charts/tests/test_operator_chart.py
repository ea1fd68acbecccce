"""Tests of the chart that installs the operator."""

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Manifest: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[..., list[Manifest]]
Helm: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "manifests/observability/rules"


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Returns the manifests of this kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def test_pull_secrets_are_used_by_the_operator_and_by_its_shops(render: Render) -> None:
    def pod(*settings: str) -> Manifest:
        (deployment,) = of_kind(render("operator", *settings), "Deployment")
        spec: Manifest = deployment["spec"]["template"]["spec"]
        return spec

    assert "imagePullSecrets" not in pod()
    private = pod("--set", "image.pullSecrets={key,other}")
    assert private["imagePullSecrets"] == [{"name": "key"}, {"name": "other"}]
    env = {variable["name"]: variable.get("value") for variable in private["containers"][0]["env"]}
    assert env["IMAGE_PULL_SECRETS"] == "key,other"


def set_json(path: str, value: Any) -> tuple[str, str]:
    """Returns the Helm arguments that set a value to JSON."""
    return "--set-json", f"{path}={json.dumps(value)}"


def test_scheduling_labels_and_annotations_reach_the_operators_pods_and_objects(render: Render) -> None:
    fields: dict[str, Any] = {
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
    }
    spread = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    more = {"topologySpreadConstraints": [spread], "labels": {"team": "1"}, "annotations": {"note": "of pods"}}
    objects = {"labels": {"cost": "7"}, "annotations": {"note": "of objects"}}
    settings = (*set_json("pods", fields | more), *set_json("objects", objects), "--set=serviceMonitor.enabled=true")
    manifests = render("operator", *settings)

    (deployment,) = of_kind(manifests, "Deployment")
    template, selector = deployment["spec"]["template"], deployment["spec"]["selector"]
    assert {name: template["spec"][name] for name in fields} == fields
    assert template["spec"]["topologySpreadConstraints"] == [spread | {"labelSelector": selector}]
    assert template["metadata"]["annotations"] == {"note": "of pods"}
    assert template["metadata"]["labels"].items() >= {**selector["matchLabels"], "team": "1"}.items()
    for manifest in manifests:
        if manifest["kind"] != "CustomResourceDefinition":
            assert manifest["metadata"]["labels"]["cost"] == "7", manifest
            assert manifest["metadata"]["annotations"] == {"note": "of objects"}
    (edit,) = (manifest for manifest in manifests if manifest["metadata"]["name"].endswith("-edit"))
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"


def test_labels_of_the_operators_chart_are_refused(helm: Helm) -> None:
    for part in ("pods", "objects"):
        refused = helm("template", "operator", "operator", *set_json(f"{part}.labels", {"app.kubernetes.io/name": "x"}))
        message = f"{part}.labels: app.kubernetes.io/name is set by this chart or by Kubernetes: use a name of your own"
        assert message in refused.stderr


def test_neither_helm_nor_argo_cd_nor_flux_deletes_the_custom_resource_definition(render: Render) -> None:
    definitions = of_kind(render("operator"), "CustomResourceDefinition")
    assert definitions
    for definition in definitions:
        assert definition["metadata"]["annotations"] == {
            "helm.sh/resource-policy": "keep",
            "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
            "kustomize.toolkit.fluxcd.io/prune": "disabled",
        }


def by_kind_and_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """Returns the manifests by what identifies them, as no two of the operator's have one kind and name."""
    identified = {(one["kind"], one["metadata"]["name"]): one for one in manifests}
    assert len(identified) == len(manifests)
    return identified


def test_every_crd_is_installed(render: Render) -> None:
    installed = by_kind_and_name(of_kind(render("operator"), "CustomResourceDefinition"))
    sources = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").iterdir()]
    assert {name: one["spec"] for (_, name), one in installed.items()} == {
        one["metadata"]["name"]: one["spec"] for one in sources
    }


def test_the_rendered_manifest_and_the_kustomize_base_are_the_chart(
    helm: Helm, find_tool: Callable[[str], str]
) -> None:
    """Both have the namespace too, which `helm install --create-namespace` creates."""
    rendered = helm("template", "ecommerce-operator", "operator", "--namespace", "ecommerce-system").stdout
    chart = by_kind_and_name([one for one in yaml.load_all(rendered, yaml.CSafeLoader) if one])
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "ecommerce-system", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    expected = chart | {("Namespace", "ecommerce-system"): namespace}

    manifest = list(yaml.load_all((ROOT / "manifests/operator.yaml").read_text(), yaml.CSafeLoader))
    assert by_kind_and_name(manifest) == expected, "run make manifests"
    assert manifest[0] == namespace, "a namespace comes before what is in it"
    assert manifest[1]["kind"] == "CustomResourceDefinition"
    assert by_kind_and_name(kustomize(find_tool, ROOT / "manifests/operator")) == expected


def test_manifests_with_images_of_your_own_are_written_into_a_folder(render: Render, tmp_path: Path) -> None:
    settings = ("image.registry=registry.example.com/shop", "image.tag=1.2")
    command = [sys.executable, str(ROOT / "manifests/generate"), "--to", str(tmp_path)]
    subprocess.run([*command, *(f"--set={one}" for one in settings)], check=True, capture_output=True)
    written = list(yaml.load_all((tmp_path / "operator.yaml").read_text(), yaml.CSafeLoader))
    values = ("--namespace=ecommerce-system", *(f"--set={one}" for one in settings))
    assert of_kind(written, "Deployment") == of_kind(
        render("operator", *values, release="ecommerce-operator"), "Deployment"
    )
    bundle = yaml.safe_load((tmp_path / "olm/manifests/ecommerce-operator.clusterserviceversion.yaml").read_text())
    image = "registry.example.com/shop/ecommerce/operator:1.2"
    assert bundle["metadata"]["annotations"]["containerImage"] == image


def test_with_tenants_no_bundle_is_written_that_would_lack_their_policies(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "manifests/generate"), "--to", str(tmp_path), "--set=tenants.enabled=true"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "no bundle for OLM is written, since tenants.enabled needs admission policies" in done.stderr
    written = list(yaml.load_all((tmp_path / "operator.yaml").read_text(), yaml.CSafeLoader))
    assert of_kind(written, "ValidatingAdmissionPolicy")
    assert not list(tmp_path.glob("olm/**/*.yaml"))


def kustomize(find_tool: Callable[[str], str], folder: Path) -> list[Manifest]:
    """Returns what `kubectl kustomize` builds of a folder."""
    command = [find_tool("kubectl"), "kustomize", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, yaml.CSafeLoader))


def test_an_overlay_sets_the_images_as_the_values_of_the_chart_do(
    render: Render, find_tool: Callable[[str], str], tmp_path: Path
) -> None:
    """The overlay of docs/operations.md, "Install"."""
    document = (ROOT / "docs/operations.md").read_text()
    _, _, rest = document.partition("# kustomization.yaml\n")
    overlay, _, _ = rest.partition("\n\n")
    copy = tmp_path / "manifests/operator"
    shutil.copytree(ROOT / "manifests/operator", copy)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(textwrap.dedent(overlay).replace("<tag>", "0.1.0-0123456789ab"))

    def container(manifests: list[Manifest]) -> Manifest:
        (deployment,) = of_kind(manifests, "Deployment")
        (only,) = deployment["spec"]["template"]["spec"]["containers"]
        return {"image": only["image"], "env": {one["name"]: one for one in only["env"]}}

    values = ("--set=image.registry=registry.example.com/shop", "--set=image.tag=0.1.0-0123456789ab")
    assert container(kustomize(find_tool, folder)) == container(render("operator", *values))


def test_only_an_operator_of_all_namespaces_may_migrate_stored_versions(render: Render) -> None:
    def rules(*settings: str) -> list[Manifest]:
        roles = of_kind(render("operator", *settings), "ClusterRole")
        return [one for role in roles for one in role["rules"] if one["apiGroups"] == ["apiextensions.k8s.io"]]

    assert [(one["resources"], one["verbs"]) for one in rules()] == [
        (["customresourcedefinitions"], ["get"]),
        (["customresourcedefinitions/status"], ["patch"]),
    ]
    assert all(one["resourceNames"] == ["ecommerceplatforms.platform.ecommerce.dev"] for one in rules())
    assert rules("--set=watchNamespaces={shop}") == []


def test_an_operator_class_has_its_own_lease(render: Render) -> None:
    for own, name in (("", "ecommerce-operator"), ("staging", "ecommerce-operator-staging")):
        manifests = render("operator", f"--set=operatorClass={own}")
        (deployment,) = of_kind(manifests, "Deployment")
        env = {one["name"]: one.get("value") for one in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert env["OPERATOR_CLASS"] == own
        rules = [rule for role in of_kind(manifests, "Role") for rule in role["rules"]]
        assert [rule["resourceNames"] for rule in rules if rule["verbs"] == ["get", "update"]] == [[name]]


def test_each_shard_has_pods_and_a_lease_of_its_own(render: Render) -> None:
    manifests = render("operator", "--set=shards=3,operatorClass=staging")
    deployments = of_kind(manifests, "Deployment")
    budgets = of_kind(manifests, "PodDisruptionBudget")
    assert [one["metadata"]["name"] for one in deployments] == [f"shop-shard-{index}" for index in range(3)]
    for index, (deployment, budget) in enumerate(zip(deployments, budgets, strict=True)):
        spec, selector = deployment["spec"], deployment["spec"]["selector"]
        env = {one["name"]: one.get("value") for one in spec["template"]["spec"]["containers"][0]["env"]}
        assert env["SHARD"] == f"{index}/3"
        assert selector == budget["spec"]["selector"]
        assert selector["matchLabels"]["platform.ecommerce.dev/shard"] == str(index)
        assert selector["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    leases = [
        rule["resourceNames"]
        for role in of_kind(manifests, "Role")
        for rule in role["rules"]
        if "update" in rule["verbs"]
    ]
    name = "ecommerce-operator-staging"
    assert leases == [[name, f"{name}.shard-1", f"{name}.shard-2"]]


def test_without_shards_the_pods_have_the_labels_and_the_name_that_they_had(render: Render) -> None:
    (deployment,) = of_kind(render("operator"), "Deployment")
    assert deployment["metadata"]["name"] == "shop"
    assert deployment["spec"]["selector"]["matchLabels"].keys() == {
        f"app.kubernetes.io/{label}" for label in ("name", "instance", "component")
    }, "the selector of a Deployment cannot be changed"


def test_values_of_a_release_before_shards_and_tenants_keep_the_operator(render: Render) -> None:
    """`helm upgrade --reuse-values` takes the defaults of the former chart, which has neither."""
    former = render("operator", "--set=shards=null", "--set=tenants=null")
    assert by_kind_and_name(former) == by_kind_and_name(render("operator"))


def test_a_drain_never_waits_for_the_operator(render: Render) -> None:
    for replicas in (1, 2):
        (budget,) = of_kind(render("operator", f"--set=replicas={replicas}"), "PodDisruptionBudget")
        assert (budget["spec"]["maxUnavailable"], "minAvailable" in budget["spec"]) == (1, False)
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_by_default_a_second_pod_waits_on_another_node_if_there_is_one(render: Render) -> None:
    (deployment,) = of_kind(render("operator"), "Deployment")
    (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert deployment["spec"]["replicas"] == 2
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert spread["labelSelector"] == deployment["spec"]["selector"]


def test_a_prometheus_that_scrapes_the_operator_gets_its_alerts(render: Render) -> None:
    (alerts,) = of_kind(render("operator", "--set", "serviceMonitor.enabled=true"), "PrometheusRule")
    assert alerts["spec"] == yaml.safe_load((RULES / "operator.yaml").read_text())


def test_alerts_are_installed_only_on_request(render: Render) -> None:
    for settings in ("serviceMonitor.enabled=false", "serviceMonitor.enabled=true,alerts.enabled=false"):
        assert not of_kind(render("operator", "--set", settings), "PrometheusRule")


def test_names_that_yaml_reads_as_another_type_stay_strings(render: Render) -> None:
    for manifest in render("operator", "--namespace=on", "--set=watchNamespaces={off}", release="no"):
        metadata, others = manifest["metadata"], [*manifest.get("subjects", []), manifest.get("roleRef", {})]
        names = [one.get(field, "") for one in (metadata, *others) for field in ("name", "namespace")]
        assert all(isinstance(name, str) for name in (*names, *metadata.get("labels", {}).values())), metadata


def test_rights_beyond_shops_come_with_tenants_alone(render: Render) -> None:
    def granted(*settings: str) -> set[str]:
        roles = of_kind(render("operator", *settings), "ClusterRole")
        rules = (rule for role in roles for rule in role["rules"])
        return {f"{verb} {resource}" for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}

    beyond = {"create namespaces", "delete namespaces", "create rolebindings", "bind clusterroles", "patch tenants"}
    assert not beyond & granted()
    assert beyond <= granted("--set=tenants.enabled=true")
    assert not of_kind(render("operator"), "ValidatingAdmissionPolicy")


def test_secrets_of_all_tenants_are_checked_by_a_policy(render: Render) -> None:
    manifests = render("operator", "--set=tenants.enabled=true")
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests, "ValidatingAdmissionPolicy")}
    (binding,) = of_kind(manifests, "ValidatingAdmissionPolicyBinding")
    (rule,) = policies[binding["spec"]["policyName"]]["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["secrets"], ["CREATE", "UPDATE"])
    assert binding["spec"]["validationActions"] == ["Deny"]
    selector = {"matchExpressions": [{"key": "platform.ecommerce.dev/tenant", "operator": "Exists"}]}
    assert binding["spec"]["matchResources"] == {"namespaceSelector": selector}
    assert len(policies) == 2


def test_the_operator_binds_no_role_but_that_of_the_admins_of_tenants(render: Render) -> None:
    manifests = render("operator", "--set=tenants.enabled=true")
    rules = [rule for role in of_kind(manifests, "ClusterRole") for rule in role["rules"] if "bind" in rule["verbs"]]
    (admin,) = (one for one in of_kind(manifests, "ClusterRole") if one["metadata"]["name"].endswith("-tenant-admin"))
    assert [rule["resourceNames"] for rule in rules] == [[admin["metadata"]["name"]]]
    (deployment,) = of_kind(manifests, "Deployment")
    env = {one["name"]: one.get("value") for one in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["TENANT_ADMIN_ROLE"] == admin["metadata"]["name"]
    shops = [rule["verbs"] for rule in admin["rules"] if "ecommerceplatforms" in rule["resources"]]
    assert shops == [["get", "list", "watch", "update", "patch"]], "a tenant's admins neither make nor delete shops"
    secrets = [rule for rule in admin["rules"] if "secrets" in rule["resources"]]
    assert not [
        rule for rule in secrets if "list" in rule["verbs"] or ("get" in rule["verbs"] and "resourceNames" not in rule)
    ]


def test_tenants_need_an_operator_of_the_whole_cluster(helm: Helm) -> None:
    for setting, message in (
        ("watchNamespaces={shops}", "needs the rights of the whole cluster: remove watchNamespaces"),
        ("shards=2", "needs an operator that sees the shops of all tenants: set shards to 1"),
    ):
        refused = helm("template", "operator", "operator", "--set=tenants.enabled=true", f"--set={setting}")
        assert f"tenants.enabled {message}" in refused.stderr
