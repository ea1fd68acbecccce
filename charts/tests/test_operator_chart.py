"""Tests of the chart that installs the operator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Manifest: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[..., list[Manifest]]

RULES = Path(__file__).resolve().parents[2] / "manifests/observability/rules"


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
