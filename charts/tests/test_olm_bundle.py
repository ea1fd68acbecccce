"""Tests of the bundle for the Operator Lifecycle Manager (manifests/olm), by the rules of its registry and validators.

They are those of https://github.com/operator-framework/api/tree/master/pkg/validation and of the bundle format,
https://olm.operatorframework.io/docs/tech-tasks/creating-operator-bundle/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

Manifest: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[..., list[Manifest]]

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "manifests/olm"
SEMANTIC_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")
SUPPORTED_KINDS = {
    "ClusterRole", "ClusterRoleBinding", "ClusterServiceVersion", "ConfigMap", "CustomResourceDefinition",
    "PodDisruptionBudget", "PriorityClass", "PrometheusRule", "Role", "RoleBinding", "Secret", "Service",
    "ServiceAccount", "ServiceMonitor", "VerticalPodAutoscaler",
}  # fmt: skip
CAPABILITIES = ("Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot")
PREFIX = "operators.operatorframework.io.bundle."


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    """The manifests of the bundle, one in each file."""
    return [yaml.safe_load(path.read_text()) for path in sorted((BUNDLE / "manifests").iterdir())]


@pytest.fixture(scope="module")
def csv(manifests: list[Manifest]) -> Manifest:
    (only,) = (one for one in manifests if one["kind"] == "ClusterServiceVersion")
    return only


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    """Returns the manifests of these kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def test_the_bundle_has_only_kinds_that_olm_installs_and_no_namespace(manifests: list[Manifest]) -> None:
    assert {one["kind"] for one in manifests} <= SUPPORTED_KINDS
    others = [one for one in manifests if one["kind"] != "ClusterServiceVersion"]
    assert [one["metadata"]["name"] for one in others if "namespace" in one["metadata"]] == []
    assert sum(path.stat().st_size for path in (BUNDLE / "manifests").iterdir()) < 1024 * 1024


def test_the_annotations_name_what_is_in_the_bundle_and_the_image_has_the_same_as_labels() -> None:
    annotations = yaml.safe_load((BUNDLE / "metadata/annotations.yaml").read_text())["annotations"]
    assert annotations[f"{PREFIX}mediatype.v1"] == "registry+v1"
    assert (BUNDLE / annotations[f"{PREFIX}manifests.v1"]).is_dir()
    assert (BUNDLE / annotations[f"{PREFIX}metadata.v1"]).is_dir()
    assert annotations[f"{PREFIX}package.v1"] == "ecommerce-operator"
    assert annotations[f"{PREFIX}channel.default.v1"] in annotations[f"{PREFIX}channels.v1"].split(",")
    lines = (BUNDLE / "bundle.Dockerfile").read_text().splitlines()
    labels = dict(line.removeprefix("LABEL ").split("=", 1) for line in lines if line.startswith("LABEL "))
    assert labels == annotations
    assert [line for line in lines if line.startswith("COPY ")] == [
        "COPY manifests /manifests/",
        "COPY metadata /metadata/",
    ]


def test_the_version_is_named_and_described(csv: Manifest) -> None:
    spec, annotations = csv["spec"], csv["metadata"]["annotations"]
    assert csv["metadata"]["name"] == f"ecommerce-operator.v{spec['version']}"
    assert SEMANTIC_VERSION.fullmatch(spec["version"])
    assert SEMANTIC_VERSION.fullmatch(spec["minKubeVersion"])
    assert annotations["capabilities"] in CAPABILITIES
    assert all(spec[name] for name in ("displayName", "description", "maturity", "keywords", "links", "maintainers"))
    assert spec["provider"]["name"]
    assert all(one["name"] and "@" in one["email"] for one in spec["maintainers"])


def test_it_is_installed_for_all_namespaces_alone(csv: Manifest) -> None:
    """OLM tells an operator of single namespaces which by an annotation of its pods, which this operator ignores."""
    modes = {one["type"]: one["supported"] for one in csv["spec"]["installModes"]}
    assert modes == {"OwnNamespace": False, "SingleNamespace": False, "MultiNamespace": False, "AllNamespaces": True}
    assert len(csv["spec"]["installModes"]) == len(modes)


def test_every_version_of_every_definition_is_owned_and_in_the_bundle(csv: Manifest, manifests: list[Manifest]) -> None:
    definitions = of_kind(manifests, "CustomResourceDefinition")
    sources = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").iterdir()]
    assert sorted(definitions, key=str) == sorted(sources, key=str)
    owned = csv["spec"]["customresourcedefinitions"]["owned"]
    assert all(one["displayName"] and one["description"] for one in owned)
    assert {(one["name"], one["kind"], one["version"]) for one in owned} == {
        (one["metadata"]["name"], one["spec"]["names"]["kind"], version["name"])
        for one in definitions
        for version in one["spec"]["versions"]
    }


def test_the_examples_are_of_owned_kinds_and_every_stored_kind_has_one_if_there_is_a_sample(csv: Manifest) -> None:
    examples = json.loads(csv["metadata"]["annotations"]["alm-examples"])
    owned = csv["spec"]["customresourcedefinitions"]["owned"]
    versions = {(one["kind"], f"{one['name'].partition('.')[2]}/{one['version']}") for one in owned}
    assert {(one["kind"], one["apiVersion"]) for one in examples} <= versions
    assert "EcommercePlatform" in {one["kind"] for one in examples}


def test_olm_installs_what_the_chart_installs(csv: Manifest, manifests: list[Manifest], render: Render) -> None:
    """The account is made of the permissions, and OLM makes roles for users of the definitions itself."""
    chart = render("operator", release="ecommerce-operator")
    install = csv["spec"]["install"]
    assert install["strategy"] == "deployment"
    (deployment,) = of_kind(chart, "Deployment")
    (installed,) = install["spec"]["deployments"]
    assert (installed["name"], installed["spec"]) == (deployment["metadata"]["name"], deployment["spec"])
    assert csv["metadata"]["annotations"]["containerImage"] == "ecommerce/operator:0.1.0"

    for field, kind in (("clusterPermissions", "ClusterRole"), ("permissions", "Role")):
        (permissions,) = install["spec"][field]
        assert permissions["serviceAccountName"] == deployment["spec"]["template"]["spec"]["serviceAccountName"]
        bound = {one["roleRef"]["name"] for one in of_kind(chart, f"{kind}Binding")}
        roles = [one for one in of_kind(chart, kind) if one["metadata"]["name"] in bound]
        assert roles
        assert permissions["rules"] == [rule for role in roles for rule in role["rules"]]

    for kind in ("Service", "PodDisruptionBudget"):
        assert [one["spec"] for one in of_kind(manifests, kind)] == [one["spec"] for one in of_kind(chart, kind)]
    known = {"CustomResourceDefinition", "Deployment", "Service", "PodDisruptionBudget", "ServiceAccount", "Role",
             "RoleBinding", "ClusterRole", "ClusterRoleBinding"}  # fmt: skip
    assert {one["kind"] for one in chart} == known, "the bundle would lack another kind"
