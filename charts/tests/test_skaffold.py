"""Tests that skaffold.yaml builds every service and passes the charts the values that they take."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

Manifest: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[..., list[Manifest]]

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
DEV, PROD = CONFIG["profiles"]
SERVICES = set(tomllib.loads((ROOT / "proto/shopapi/services.toml").read_text()))
PROFILES = {"dev": (DEV, DEV), "prod": (CONFIG, PROD)}
"""The parts of skaffold.yaml that build the images and that deploy them, by profile."""


@pytest.mark.parametrize("profile", PROFILES)
def test_each_service_runs_the_image_that_skaffold_has_built(
    profile: str, render: Render, secrets: str, tmp_path: Path
) -> None:
    building, deploying = PROFILES[profile]
    (release,) = deploying["deploy"]["helm"]["releases"]
    overrides = tmp_path / "overrides.yaml"
    overrides.write_text(yaml.safe_dump(release["overrides"]))
    images = {_variable(artifact["image"]): artifact["image"] for artifact in building["build"]["artifacts"]}
    chosen = [f"--set={field}={images[template]}" for field, template in release["setValueTemplates"].items()]

    shop = render("platform", f"--values={secrets}", f"--values={overrides}", *chosen)

    runs = {one["metadata"]["labels"]["app.kubernetes.io/component"]: _image(one) for one in shop if _is_service(one)}
    suffix = {"dev": "-dev", "prod": ""}[profile]
    assert {service: image.rsplit("/")[-1] for service, image in runs.items()} == {s: f"{s}{suffix}" for s in SERVICES}


@pytest.mark.parametrize(
    "artifact", [*CONFIG["build"]["artifacts"], *DEV["build"]["artifacts"]], ids=lambda one: one["image"]
)
def test_an_image_is_rebuilt_when_a_file_changes_that_its_dockerfile_copies(artifact: dict[str, Any]) -> None:
    service = artifact["image"].rpartition("/")[2].removesuffix("-dev")
    dockerfile = (ROOT / "services/Dockerfile").read_text().replace("${SERVICE}", service)
    copied = re.findall(r"(?m)^COPY (?!--from)(?:--\S+ )*(\S+) \S+$", dockerfile)

    assert set(artifact["custom"]["dependencies"]["paths"]) == {"services/Dockerfile", *copied}


def test_a_service_that_restarts_often_stays_ready_in_development(render: Render, secrets: str, tmp_path: Path) -> None:
    usual, development = (_seconds_until_unready(render, secrets, *values) for values in ((), (_overrides(tmp_path),)))

    assert usual == {10}
    assert development == {60}, "longer than two starts and the time between them"


def _overrides(folder: Path) -> str:
    (release,) = DEV["deploy"]["helm"]["releases"]
    file = folder / "overrides.yaml"
    file.write_text(yaml.safe_dump(release["overrides"]))
    return f"--values={file}"


def _seconds_until_unready(render: Render, secrets: str, *values: str) -> set[int]:
    """Returns the seconds of failed probes after which a pod gets no more requests."""
    shop = render("platform", f"--values={secrets}", *values)
    containers = [one["spec"]["template"]["spec"]["containers"][0] for one in shop if _is_service(one)]
    probes = [container["readinessProbe"] for container in containers]
    return {probe["failureThreshold"] * probe["periodSeconds"] for probe in probes}


def test_development_uses_only_the_cluster_on_this_machine() -> None:
    assert DEV["deploy"]["kubeContext"] == "kind-ecommerce"


def _variable(image: str) -> str:
    """Returns the template variable in which skaffold passes a built image."""
    return "{{.IMAGE_FULLY_QUALIFIED_" + image.translate(str.maketrans("/-.:", "____")) + "}}"


def _is_service(manifest: Manifest) -> bool:
    return bool(manifest["kind"] == "Deployment")


def _image(manifest: Manifest) -> str:
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    return str(container["image"])
