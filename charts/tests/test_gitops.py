"""Tests of what tells Argo CD and Flux the health of a shop: manifests/gitops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import cel
import pytest
import yaml
from lupa.lua51 import LuaRuntime, lua_type

Manifest: TypeAlias = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
GITOPS = ROOT / "manifests/gitops"


def condition(type_: str, status: str, reason: str = "", message: str = "") -> Manifest:
    return {"type": type_, "status": status, "reason": reason, "message": message}


def shop(*conditions: Manifest, generation: int = 1) -> Manifest:
    """Returns a platform whose second generation the operator has seen, if `generation` is 2."""
    status = {"observedGeneration": generation, "conditions": list(conditions)}
    return {"metadata": {"name": "shop", "generation": 2}, "status": status}


READY = shop(condition("Ready", "True", "AllReady", "all"), condition("Degraded", "False"), generation=2)
STATES: dict[str, tuple[Manifest, str, str]] = {
    "new": ({"metadata": {"generation": 1}}, "Progressing", "inProgress"),
    "changed": (shop(*READY["status"]["conditions"]), "Progressing", "inProgress"),
    "without conditions": (shop(generation=2), "Progressing", ""),
    "rolling out": (shop(condition("Ready", "False", "Migrating", "waits"), generation=2), "Progressing", ""),
    "ready": (READY, "Healthy", "current"),
    "degraded": (
        shop(condition("Ready", "False", "DataLost"), condition("Degraded", "True", "DataLost", "lost"), generation=2),
        "Degraded",
        "failed",
    ),
    "ready, with a refused change": (
        shop(condition("Ready", "True", "AllReady"), condition("Degraded", "True", "Refused"), generation=2),
        "Degraded",
        "failed",
    ),
    "observed": (shop(condition("Ready", "False", "Observing"), generation=2), "Suspended", "current"),
    "hibernated": (shop(condition("Ready", "False", "Hibernated"), generation=2), "Suspended", "current"),
    "closed": (shop(condition("Ready", "False", "Closed"), generation=2), "Suspended", "current"),
    "closing": (shop(condition("Ready", "False", "Closing"), generation=2), "Progressing", ""),
    "hibernating": (shop(condition("Ready", "False", "Hibernating"), generation=2), "Progressing", ""),
}
"""Objects with their health for Argo CD, and the first expression that is true for Flux."""


def health_script() -> str:
    (config,) = yaml.safe_load_all((GITOPS / "argocd/argocd-cm.yaml").read_text())
    ((name, script),) = config["data"].items()
    assert name == "resource.customizations.health.platform.ecommerce.dev_EcommercePlatform"
    return str(script)


def argo_health(resource: Manifest) -> Manifest:
    """Runs the script as Argo CD does: in Lua 5.1, on the object as a table `obj`."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(resource, recursive=True)
    health = lua.execute(health_script())
    assert lua_type(health) == "table"
    return dict(health.items())


@pytest.mark.parametrize("state", STATES)
def test_argo_cd_shows_the_health_of_a_shop(state: str) -> None:
    resource, expected, _ = STATES[state]
    health = argo_health(resource)
    assert health["status"] == expected
    assert isinstance(health.get("message"), str)


def test_argo_cd_shows_why_a_shop_is_degraded() -> None:
    assert argo_health(STATES["degraded"][0])["message"] == "lost"


@pytest.mark.parametrize("state", STATES)
def test_flux_waits_for_a_shop_and_gives_up_when_it_is_degraded(state: str) -> None:
    """Flux takes the first of the expressions that is true, in this order, and else goes on waiting."""
    resource, _, expected = STATES[state]
    (kustomization,) = (one for one in flux("shops.yaml") if one["kind"] == "Kustomization")
    (check,) = kustomization["spec"]["healthCheckExprs"]
    assert (check["apiVersion"], check["kind"]) == ("platform.ecommerce.dev/v1beta1", "EcommercePlatform")
    context: Manifest = {"status": {}} | resource
    order = ("inProgress", "failed", "current")
    assert next((name for name in order if cel.evaluate(check[name], context)), "") == expected


def flux(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((GITOPS / "flux" / name).read_text()))


def test_no_tool_deletes_a_shop_whose_file_is_gone() -> None:
    (application,) = yaml.safe_load_all((GITOPS / "argocd/shops.yaml").read_text())
    assert not application["spec"]["syncPolicy"]["automated"].get("prune")
    (kustomization,) = (one for one in flux("shops.yaml") if one["kind"] == "Kustomization")
    assert kustomization["spec"]["prune"] is False


def test_the_operator_is_installed_from_the_kustomize_base() -> None:
    (application,) = yaml.safe_load_all((GITOPS / "argocd/operator.yaml").read_text())
    (kustomization,) = (one for one in flux("operator.yaml") if one["kind"] == "Kustomization")
    for path in (application["spec"]["source"]["path"], kustomization["spec"]["path"]):
        assert (ROOT / path / "kustomization.yaml").is_file()
    assert "ServerSideApply=true" in application["spec"]["syncPolicy"]["syncOptions"]


def test_the_reasons_that_the_checks_know_are_those_of_the_operator() -> None:
    """A reason that was renamed would make a hibernated shop look as if it were starting."""
    source = (ROOT / "operator/platform_operator/api/conditions.py").read_text()
    for reason in ("Observing", "Hibernated"):
        assert f'= "{reason}"' in source
        assert reason in health_script()
        assert reason in json.dumps(flux("shops.yaml"))
