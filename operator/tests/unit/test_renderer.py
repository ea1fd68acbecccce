"""The real charts through the real Helm."""

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform_operator.api.kinds import CHILD_LABELS, LABEL_COMPONENT, LABEL_INSTANCE, ObjectId, PlatformKey
from platform_operator.api.spec import MAX_NAME_LENGTH, SERVICES, WITH_DATABASE, parse
from platform_operator.errors import RenderError, RenderTimeoutError
from platform_operator.plan.inventory import DesiredObject
from platform_operator.plan.rollout_steps import STEPS, step_of
from platform_operator.render.connection_pools import DEFAULT_POOL_SIZE, max_connections
from platform_operator.render.helm import Helm
from platform_operator.render.profiles import PROFILES
from platform_operator.render.renderer import Renderer, chart_digest, desired_objects
from platform_operator.render.values import Installation, chart_values

KEY = PlatformKey("shop", "shop")


@pytest.fixture(scope="session")
def renderer(charts: Path, helm: str) -> Renderer:
    return Renderer(Helm(executable=helm), charts / "platform")


async def render(renderer: Renderer, spec: dict[str, Any], key: PlatformKey = KEY) -> dict[ObjectId, DesiredObject]:
    values = chart_values(key, parse(spec), Installation("1.0", "registry:5000"), "small")
    return {one.id: one for one in await renderer.render(key, "uid-1", values)}


async def test_an_empty_spec_renders_every_part_of_the_shop(renderer: Renderer) -> None:
    objects = await render(renderer, {})
    for service in SERVICES:
        assert ObjectId("Deployment", f"shop-{service}") in objects
    for store in (*(f"{service}-db" for service in WITH_DATABASE), "redis", "rabbitmq"):
        assert ObjectId("StatefulSet", f"shop-{store}") in objects


async def test_the_charts_render_no_secret(renderer: Renderer) -> None:
    assert not [identity for identity in await render(renderer, {}) if identity.kind == "Secret"]


async def test_every_object_is_labelled_owned_and_in_the_platforms_namespace(renderer: Renderer) -> None:
    for one in (await render(renderer, {})).values():
        metadata = one.manifest["metadata"]
        assert CHILD_LABELS.items() <= metadata["labels"].items()
        assert metadata["labels"][LABEL_INSTANCE] == "shop"
        assert metadata["labels"][LABEL_COMPONENT]
        assert metadata["namespace"] == "shop"
        assert [owner["uid"] for owner in metadata["ownerReferences"]] == ["uid-1"]


async def test_waves_follow_the_dependencies(renderer: Renderer) -> None:
    waves = {
        identity.kind: {one.wave}
        for identity, one in (await render(renderer, {})).items()
        if identity.name != "shop-gateway"
    }
    assert (waves["StatefulSet"], waves["Job"], waves["Deployment"]) == ({1}, {2}, {3})
    assert (await render(renderer, {}))[ObjectId("Deployment", "shop-gateway")].wave == 4


@pytest.mark.parametrize("memory", [None, "300M", "1Gi", "1342177280"])
@pytest.mark.parametrize("profile", PROFILES)
async def test_a_service_of_any_profile_fits_the_connections_of_a_database_that_was_made_small(
    renderer: Renderer, profile: str, memory: str | None
) -> None:
    spec = {"profile": profile, "databases": {"resources": {"limits": {"memory": memory}}}}
    objects = {identity: one.manifest for identity, one in (await render(renderer, spec)).items()}
    allowed = _setting(objects[ObjectId("StatefulSet", "shop-order-db")], "max_connections")
    scaler = objects.get(ObjectId("HorizontalPodAutoscaler", "shop-order"))
    pods = scaler["spec"]["maxReplicas"] if scaler else 1
    (own,) = objects[ObjectId("Deployment", "shop-order")]["spec"]["template"]["spec"]["containers"]
    pool = next((int(one["value"]) for one in own["env"] if one["name"] == "DB_POOL_SIZE"), DEFAULT_POOL_SIZE)

    assert allowed == max_connections(memory or PROFILES["small"].database.memory_limit)
    assert (pods + 1) * (pool + 1) + 6 <= allowed


def _setting(database: dict[str, Any], name: str) -> int:
    (container,) = database["spec"]["template"]["spec"]["containers"]
    (value,) = [one.removeprefix(f"{name}=") for one in container["args"] if one.startswith(f"{name}=")]
    return int(value)


async def test_a_deployment_under_an_autoscaler_states_no_replicas(renderer: Renderer) -> None:
    objects = await render(renderer, {"profile": "medium"})
    assert ObjectId("HorizontalPodAutoscaler", "shop-order") in objects
    assert "replicas" not in objects[ObjectId("Deployment", "shop-order")].manifest["spec"]


async def test_an_upgrade_replaces_each_service_of_the_charts_in_its_own_step(renderer: Renderer) -> None:
    objects = await render(renderer, {"profile": "medium", "version": "2", "monitoring": {"enabled": True}})
    steps = {identity: STEPS[step_of(KEY, one)] for identity, one in objects.items()}
    for service in SERVICES:
        deployment = ObjectId("Deployment", f"{KEY.name}-{service}")
        scaler = ObjectId("HorizontalPodAutoscaler", f"{KEY.name}-{service}")
        assert service in steps[deployment].split(", ")
        assert steps[scaler] == steps[deployment]
        labels = objects[deployment].manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/version"] == "2", "a rollback recognizes what it has to bring back"
    first = {identity.kind for identity, step in steps.items() if step == "migrations"}
    assert {"Job", "StatefulSet", "Service", "ConfigMap"} <= first
    assert "Deployment" not in first


async def test_an_upgrade_leaves_the_stores_alone(renderer: Renderer) -> None:
    before, after = await render(renderer, {"version": "1"}), await render(renderer, {"version": "2"})
    changed = {
        identity.kind
        for identity in before
        if identity not in after or before[identity].digest != after[identity].digest
    }
    assert "StatefulSet" not in changed
    assert {"Deployment", "Job"} <= changed


async def test_a_change_of_profile_restarts_no_store(renderer: Renderer) -> None:
    before, after = await render(renderer, {"profile": "small"}), await render(renderer, {"profile": "large"})
    assert all(
        before[identity].digest == after[identity].digest for identity in before if identity.kind == "StatefulSet"
    )


async def test_migrations_run_again_for_a_new_version_only(renderer: Renderer) -> None:
    def jobs(objects: dict[ObjectId, DesiredObject]) -> set[str]:
        return {identity.name for identity in objects if identity.kind == "Job"}

    first = jobs(await render(renderer, {"version": "1"}))
    assert first == jobs(await render(renderer, {"version": "1", "profile": "large"}))
    assert not first & jobs(await render(renderer, {"version": "2"}))


async def test_the_longest_name_gives_valid_names(renderer: Renderer) -> None:
    key = PlatformKey("shop", "s" * MAX_NAME_LENGTH)
    assert max(len(identity.name) for identity in await render(renderer, {}, key)) <= 63


async def test_network_policies_open_the_ports_of_external_stores(renderer: Renderer) -> None:
    databases = {name: {"secretRef": {"name": "db"}, "port": 25060} for name in WITH_DATABASE}
    objects = await render(renderer, {
        "databases": {"provider": "external", "external": databases},
        "cache": {"provider": "external", "secretRef": {"name": "redis"}, "port": 25061},
        "broker": {"provider": "external", "secretRef": {"name": "rabbit"}},
    })  # fmt: skip
    for policy, ports in (("shop-product", {25060, 25061, 5672}), ("shop-product-migrate", {25060})):
        egress = objects[ObjectId("NetworkPolicy", policy)].manifest["spec"]["egress"]
        assert {rule["ports"][0]["port"] for rule in egress if "to" not in rule} == ports


async def test_equal_content_is_rendered_once(charts: Path) -> None:
    helm = CountingHelm()
    renderer = Renderer(helm, charts / "platform")
    for spec in ({}, {}, {"profile": "small"}):
        await render(renderer, spec)
    assert helm.runs == 1
    await render(renderer, {"profile": "medium"})
    assert helm.runs == 2


async def test_helm_runs_once_for_shops_whose_values_differ_in_names_alone(charts: Path) -> None:
    helm = CountingHelm()
    renderer = Renderer(helm, charts / "platform")
    for key in (PlatformKey("a", "shop"), PlatformKey("b", "shop"), PlatformKey("b", "order")):
        objects = await render(renderer, {}, key)
        (service,) = objects.values()
        assert (service.id.name, service.manifest["metadata"]["namespace"]) == (f"{key.name}-gateway", key.namespace)
    assert helm.runs == 1
    renderer.forget(key, "uid-1", chart_values(key, parse({}), Installation("1.0", "registry:5000"), "small"))
    await render(renderer, {}, key)
    assert helm.runs == 2, "what Helm printed was not whole"


EVERY_PART = {
    "profile": "large",
    "monitoring": {"enabled": True, "alerts": True, "serviceMonitors": True},
    "ingress": {"enabled": True, "host": "shop.example.org", "tls": {"secretName": "shop-tls"}},
    "cache": {"provider": "external", "secretRef": {"name": "shop-cache"}},
    "payments": {"provider": "stripe", "secretRef": {"name": "stripe"}},
    "services": {"order": {"env": {"NOTE": "shop-order in shop"}}},
}


@pytest.mark.parametrize("spec", [{}, EVERY_PART])
@pytest.mark.parametrize("key", [KEY, PlatformKey("team", "order"), PlatformKey("a", "on"), PlatformKey("x", "s" * 30)])
async def test_objects_whose_names_are_filled_in_are_those_that_helm_prints(
    renderer: Renderer, spec: dict[str, Any], key: PlatformKey
) -> None:
    values = chart_values(key, parse(spec), Installation("1.0"), "small")
    printed = desired_objects(await renderer.helm.template(renderer.chart, key, values), key, "uid")
    filled_in = await renderer.render(key, "uid", values)
    assert [unhashed(one) for one in filled_in] == [unhashed(one) for one in printed]


def unhashed(one: DesiredObject) -> str:
    """Returns a manifest without the hashes that the charts make of texts with a shop's names in them."""
    return re.sub(r'(-migrate-|/config":")[0-9a-f]+"', '"', one.json)


async def test_an_error_of_the_charts_has_the_names_of_the_shop(tmp_path: Path, helm: str) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: c, version: 0.1.0}")
    (tmp_path / "templates" / "x.yaml").write_text('{{ fail (printf "%s/%s" .Release.Namespace .Release.Name) }}')
    with pytest.raises(RenderError, match="team/shop"):
        await Renderer(Helm(executable=helm), tmp_path).render(PlatformKey("team", "shop"), "uid", {})


async def test_a_chart_that_refuses_its_values_is_reported_with_its_own_message(tmp_path: Path, helm: str) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: c, version: 0.1.0}")
    (tmp_path / "templates" / "x.yaml").write_text('{{ fail "set database.password" }}')
    with pytest.raises(RenderError, match=r"set database\.password"):
        await Helm(executable=helm).template(tmp_path, KEY, {})


async def test_what_helm_printed_is_parsed_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Printed(Helm):
        async def run(self, *_: object) -> bytes:
            return b"kind: Service"

    threads: list[int] = []

    def load(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.get_ident())
        return parse_yaml(*arguments, **options)

    parse_yaml = yaml.load_all
    monkeypatch.setattr(yaml, "load_all", load)
    assert await Printed().template(Path(), KEY, {}) == [{"kind": "Service"}]
    assert threading.get_ident() not in threads


async def test_a_helm_run_that_does_not_finish_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(Helm):
        async def run(self, *_: object) -> bytes:
            await asyncio.Event().wait()
            return b""

    monkeypatch.setattr("platform_operator.render.helm.HELM_TIMEOUT", 0.01)
    with pytest.raises(RenderTimeoutError, match="give the operator more CPU or memory"):
        await Stuck().template(tmp_path, KEY, {})


def test_a_kind_that_is_not_watched_is_refused() -> None:
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    with pytest.raises(RenderError, match=r"add it to platform_operator/api/kinds\.py"):
        desired_objects([manifest], KEY, "uid-1")


def test_the_charts_digest_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = chart_digest(tmp_path)
    assert chart_digest(tmp_path) == before
    (tmp_path / "a").write_text("2")
    assert chart_digest(tmp_path) != before


class CountingHelm(Helm):
    runs = 0

    async def template(self, chart: Path, key: PlatformKey, values: dict[str, Any]) -> list[dict[str, Any]]:
        self.runs += 1
        return [{"kind": "Service", "apiVersion": "v1", "metadata": {"name": f"{key.name}-gateway"}}]


async def test_the_pods_of_a_service_have_its_annotations(renderer: Renderer) -> None:
    values = chart_values(KEY, parse({}), Installation("1"), "small", "required", {"payment": {"a.b/c": "d"}})
    objects = {one.id: one.manifest for one in await renderer.render(KEY, "uid", values)}
    for service, annotations in (("payment", {"a.b/c": "d"}), ("order", None)):
        metadata = objects[ObjectId("Deployment", f"shop-{service}")]["spec"]["template"]["metadata"]
        assert metadata.get("annotations") == annotations


async def test_a_quota_of_processor_limits_admits_every_pod_if_the_spec_limits_each_part(renderer: Renderer) -> None:
    limited = {"resources": {"limits": {"cpu": "1"}}}
    spec = {"services": dict.fromkeys(SERVICES, limited), "databases": limited, "cache": limited, "broker": limited}
    manifests = [
        one.manifest for identity, one in (await render(renderer, spec)).items() if identity.kind in _WITH_PODS
    ]
    pods = [one["spec"]["template"]["spec"] for one in manifests]
    containers = [one for pod in pods for one in (*pod.get("initContainers", ()), *pod["containers"])]
    assert {one["kind"] for one in manifests} == set(_WITH_PODS)
    assert [one["name"] for one in containers if "cpu" not in one["resources"].get("limits", {})] == []


_WITH_PODS = ("Deployment", "Job", "StatefulSet")
