"""Everything that lists the services of a shop agrees with their one declaration, proto/shopapi/services.toml."""

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from chassis.grpc.access import token_digest
from chassis.messaging.topology import load_topology
from chassis_testing.callers import KNOWN_CALLERS, OWN_TOKENS
from devtools.services import SERVICES, grpc_credentials

from platform_operator.api.spec import NEIGHBOURS

_ROOT = Path(__file__).parents[3]
_METRICS_PORT = 9464


def _callers_of(name: str) -> set[str]:
    return {caller for caller, service in SERVICES.items() if name in service.neighbours}


_CALLED = [name for name in SERVICES if _callers_of(name)]


class _Loader(yaml.SafeLoader):
    """Reads `!reset` and `!override` of compose documents as nothing."""


_Loader.add_multi_constructor("!", lambda *_: None)


def _yaml(path: str) -> Any:
    return yaml.load((_ROOT / path).read_text(), _Loader)  # noqa: S506 - a SafeLoader


def _toml(path: str) -> dict[str, Any]:
    return tomllib.loads((_ROOT / path).read_text())


def test_every_service_has_a_folder_and_every_folder_a_service() -> None:
    packages = {package.name for package in _ROOT.glob("services/*/*_service")}

    assert packages == {f"{name}_service" for name in SERVICES}


def test_no_two_services_share_a_port() -> None:
    ports = [port for service in SERVICES.values() for port in (service.http, service.grpc) if port is not None]

    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("name", SERVICES)
def test_a_chart_has_the_declared_ports_stores_and_neighbours(name: str) -> None:
    service, values = SERVICES[name], _yaml(f"charts/{name}/values.yaml")

    ports = {"http": service.http, "metrics": _METRICS_PORT} | ({"grpc": service.grpc} if service.grpc else {})
    assert values["ports"] == ports
    assert values["neighbours"] == {neighbour: SERVICES[neighbour].grpc for neighbour in service.neighbours}
    assert values.get("database", {}).get("name") == service.database
    assert ("cache" in values, "broker" in values) == (service.cache, service.broker)


@pytest.mark.parametrize("name", SERVICES)
def test_a_chart_lets_in_the_declared_callers_of_its_grpc(name: str) -> None:
    assert sorted(_yaml(f"charts/{name}/values.yaml").get("callers", [])) == sorted(_callers_of(name))


@pytest.mark.parametrize("name", _CALLED)
def test_a_service_lists_the_callers_of_each_method_and_they_are_its_declared_ones(name: str) -> None:
    contract = importlib.import_module(f"shopapi.{name}.v1.{name}_pb2").DESCRIPTOR
    methods = {
        f"{service.full_name}/{method.name}"
        for service in contract.services_by_name.values()
        for method in service.methods
    }

    allowed = importlib.import_module(f"{name}_service.handlers.grpc").ALLOWED_CALLERS

    assert allowed.keys() == methods
    assert all(allowed.values())
    assert frozenset[str]().union(*allowed.values()) == _callers_of(name)


def test_every_contract_with_methods_is_of_a_service_that_is_called() -> None:
    contracts = {path.parts[-3] for path in _ROOT.glob("proto/shopapi/*/v1/*_pb2_grpc.py")}

    assert contracts == set(_CALLED)


def test_tests_may_call_in_the_name_of_every_service() -> None:
    assert set(KNOWN_CALLERS.values()) == set(OWN_TOKENS) == set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_its_own_tokens_and_of_its_callers_only_digests(name: str) -> None:
    every = {service: grpc_credentials(service, "secret") for service in SERVICES}
    tokens, digests = _pairs(every[name].get("GRPC_TOKENS")), _pairs(every[name].get("GRPC_CALLERS"))

    assert [neighbour for neighbour, _ in tokens] == list(SERVICES[name].neighbours)
    assert digests == [
        (caller, token_digest(token))
        for caller in SERVICES
        for callee, token in _pairs(every[caller].get("GRPC_TOKENS"))
        if callee == name
    ]


def _pairs(text: str | None) -> list[tuple[str, str]]:
    return [(one.split("=")[0], one.split("=")[1]) for one in text.split(",")] if text else []


@pytest.mark.parametrize("document", ["compose.yaml", "compose.prod.yaml"])
def test_compose_runs_every_service(document: str) -> None:
    assert set(SERVICES) <= set(_yaml(document)["services"])


@pytest.mark.parametrize("name", SERVICES)
def test_compose_sets_a_services_database_and_neighbours(name: str) -> None:
    service, environment = SERVICES[name], _yaml("compose.yaml")["services"][name]["environment"]

    assert environment.get("DB_NAME") == service.database
    recorded = {key.removesuffix("_GRPC").lower(): value for key, value in environment.items() if key.endswith("_GRPC")}
    assert recorded == {neighbour: f"{neighbour}:{SERVICES[neighbour].grpc}" for neighbour in service.neighbours}
    assert ("REDIS_URL" in environment, "RABBITMQ_URL" in environment) == (service.cache, service.broker)


def test_prometheus_scrapes_every_service() -> None:
    job = _yaml("manifests/compose/prometheus.yaml")["scrape_configs"][0]
    compose = {target.partition(":")[0] for config in job["static_configs"] for target in config["targets"]}
    charts = _yaml("charts/monitoring/values.yaml")["targets"]

    assert set(SERVICES) <= compose
    assert set(SERVICES) <= set(charts)


def test_skaffold_builds_every_service() -> None:
    built = {artifact["image"] for artifact in _yaml("skaffold.yaml")["build"]["artifacts"]}

    assert built == {f"ecommerce/{name}" for name in SERVICES}


def test_the_custom_resource_names_every_service() -> None:
    version, *_ = _yaml("crds/ecommerceplatform.yaml")["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    named = [set(re.findall(r"'(\w+)'", rule["rule"])) for rule in spec["x-kubernetes-validations"]]

    assert set(SERVICES) in named


def test_the_operator_gives_every_service_the_tokens_of_its_declared_neighbours() -> None:
    assert {name: service.neighbours for name, service in SERVICES.items()} == NEIGHBOURS


def test_the_layers_of_every_service_are_checked() -> None:
    project = _toml("pyproject.toml")
    packages = {f"{name}_service" for name in SERVICES}
    contracts = {contract["name"]: contract for contract in project["tool"]["importlinter"]["contracts"]}

    assert packages <= set(project["tool"]["importlinter"]["root_packages"])
    assert packages == set(contracts["Services know each other through contracts alone"]["modules"])
    (domains,) = (contract for name, contract in contracts.items() if name.startswith("A domain is plain Python"))
    assert {f"{package}.domain" for package in packages} <= set(domains["source_modules"])
    assert {f"services/{name}" for name in SERVICES} <= set(project["tool"]["mypy"]["mypy_path"])


def test_the_topology_names_only_services_that_use_the_broker() -> None:
    events = load_topology().events.values()
    named = {event.producer for event in events} | {consumer for event in events for consumer in event.consumers}

    assert named == {name for name, service in SERVICES.items() if service.broker}


def test_the_gateway_routes_to_every_other_service() -> None:
    settings = (_ROOT / "services/gateway/gateway_service").rglob("*.py")
    upstreams = {
        name for file in settings for name in re.findall(r"^    (\w+)_url: HttpUrl$", file.read_text(), re.MULTILINE)
    }

    assert upstreams == set(SERVICES) - {"gateway"}
