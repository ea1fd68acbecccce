"""compose.yaml gives each service the variables that its settings need and its chart sets; compose.prod.yaml gives the
same from files.
"""

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from chassis.settings import Environment, MigrationSettings, read
from devtools.services import SERVICES, grpc_credentials

_ROOT = Path(__file__).resolve().parents[3]
_SECRET = "0123456789abcdef0123456789abcdef"
_WITH_DATABASE = [service for service, kind in SERVICES.items() if kind.database]


class _Reset(yaml.SafeLoader):
    """Reads `!reset`, which removes a value of the document below an overlay."""


_Reset.add_constructor("!reset", lambda *_: None)
COMPOSE = yaml.safe_load((_ROOT / "compose.yaml").read_text())
PROD = yaml.load((_ROOT / "compose.prod.yaml").read_text(), _Reset)  # noqa: S506 - a SafeLoader
PROMETHEUS = yaml.safe_load((_ROOT / "manifests/compose/prometheus.yaml").read_text())
EXAMPLE = dict(re.findall(r"(?m)^(\w+)=(.*)$", (_ROOT / ".env.example").read_text()))


def settings_of(service: str) -> type[Environment]:
    settings: type[Environment] = importlib.import_module(f"{service}_service.app").PROGRAM.settings
    return settings


def filled_in() -> dict[str, str]:
    """.env with every password filled in."""
    needed = re.compile("(POSTGRES|[A-Z]+_DB|[A-Z]+_RUNTIME|[A-Z]+_BROKER|REDIS|RABBITMQ|ADMIN)_PASSWORD|JWT_SECRET")
    passwords = {name: _SECRET if needed.fullmatch(name) else value for name, value in EXAMPLE.items()}
    return passwords | {
        f"{service}_{variable}".upper(): value
        for service in SERVICES
        for variable, value in grpc_credentials(service, _SECRET).items()
    }


def interpolated(value: object, given: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1]) or found[2], str(value))


def environment(service: str, given: Mapping[str, str]) -> dict[str, str]:
    recorded = COMPOSE["services"][service]["environment"]
    return {name: interpolated(value, given) for name, value in recorded.items()}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_every_variable_it_needs_and_no_unknown_one(service: str) -> None:
    recorded = environment(service, filled_in())

    read(settings_of(service), recorded)
    assert set(recorded) <= {name.upper() for name in settings_of(service).model_fields}


@pytest.mark.parametrize(("name", "value"), [("TRUSTED_PROXIES", "172.16.0.0/12"), ("RATE_LIMITS", "read=off")])
def test_the_gateway_gets_trusted_proxies_and_rate_limits(name: str, value: str) -> None:
    recorded = read(settings_of("gateway"), environment("gateway", filled_in() | {name: value}))

    assert getattr(recorded, name.lower()) == value


@pytest.mark.parametrize("service", _WITH_DATABASE)
def test_a_service_gets_only_the_broker_user_of_its_own(service: str) -> None:
    password = f"{service.upper()}_BROKER_PASSWORD"
    given = {name: name for name in EXAMPLE if name.endswith(("_BROKER_PASSWORD", "RABBITMQ_PASSWORD"))}

    assert environment(service, given)["RABBITMQ_URL"] == f"amqp://{service}:{password}@rabbitmq:5672/"
    assert environment("rabbitmq-definitions", given)[f"{service.upper()}_PASSWORD"] == password
    files = [name for name in PROD["services"][service]["secrets"] if re.search("rabbitmq|broker", name)]
    assert files == [f"{service}_rabbitmq_url"]


@pytest.mark.parametrize("service", _WITH_DATABASE)
def test_a_migration_gets_its_database_as_the_owner_and_the_role_of_its_service(service: str) -> None:
    given = {name: name for name in EXAMPLE if name.endswith("_PASSWORD")}
    migrating = read(MigrationSettings, environment(f"{service}-migrate", given))
    serving = environment(service, given)
    owner = str(SERVICES[service].database).removesuffix("_db")

    assert migrating.db_name == serving["DB_NAME"] == SERVICES[service].database
    assert (migrating.db_user, migrating.db_password) == (owner, f"{owner.upper()}_DB_PASSWORD")
    assert (migrating.db_runtime_user, migrating.db_runtime_password) == (serving["DB_USER"], serving["DB_PASSWORD"])
    assert serving["DB_PASSWORD"] == f"{owner.upper()}_RUNTIME_PASSWORD"
    created = environment("postgres-databases", given)
    assert {migrating.db_password, serving["DB_PASSWORD"]} <= set(created.values())


@pytest.mark.parametrize("service", _WITH_DATABASE)
def test_in_production_only_the_migration_reads_the_password_of_the_owner(service: str) -> None:
    owner = f"{str(SERVICES[service].database).removesuffix('_db')}_db_password"
    readers = {name for name, overlay in PROD["services"].items() if owner in overlay.get("secrets", ())}

    assert readers == {f"{service}-migrate", "postgres-databases"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_ports_and_neighbours_of_its_chart(service: str) -> None:
    chart: Mapping[str, Mapping[str, int]] = yaml.safe_load((_ROOT / f"charts/{service}/values.yaml").read_text())
    expected = {f"{name}_GRPC".upper(): f"{name}:{port}" for name, port in chart["neighbours"].items()}
    expected |= {f"{name}_URL".upper(): f"http://{name}:{port}" for name, port in chart.get("routes", {}).items()}
    expected |= {f"{name}_PORT".upper(): str(port) for name, port in chart["ports"].items() if name != "metrics"}

    recorded = environment(service, {})

    assert {
        name: recorded[name] for name in recorded if name.endswith(("_GRPC", "_PORT", "_URL")) and name in expected
    } == expected


@pytest.mark.parametrize("service", SERVICES)
def test_in_production_no_secret_is_in_the_environment(service: str) -> None:
    secrets = {name for name, value in EXAMPLE.items() if re.search("PASSWORD|SECRET|GRPC_TOKENS|GRPC_CALLERS", name)}
    overlay: Mapping[str, Any] = PROD["services"][service]
    recorded = COMPOSE["services"][service]["environment"] | overlay["environment"]

    assert [name for name, value in recorded.items() if any(secret in str(value) for secret in secrets)] == []
    files = {name.removesuffix("_FILE"): value for name, value in recorded.items() if name.endswith("_FILE")}
    assert set(files) <= {name.upper() for name in settings_of(service).model_fields}
    assert {Path(file).name for file in files.values()} == set(overlay["secrets"]) <= set(PROD["secrets"])


def test_every_variable_of_the_files_is_in_the_example_or_says_what_it_is_for() -> None:
    used = set(re.findall(r"\$\{(\w+)", (_ROOT / "compose.yaml").read_text()))

    assert used - set(EXAMPLE) == {"IMAGES", "VERSION"}
    assert set(EXAMPLE) <= used


@pytest.mark.parametrize("job", PROMETHEUS["scrape_configs"], ids=lambda job: job["job_name"])
def test_every_prometheus_target_has_the_labels_that_rules_select(job: Mapping[str, Any]) -> None:
    for address, labels in targets(job):
        assert labels == {"namespace": "shop", "platform": "shop", "component": address.partition(":")[0]}


def test_prometheus_of_compose_scrapes_the_targets_of_the_chart() -> None:
    jobs = PROMETHEUS["scrape_configs"]
    chart: Mapping[str, int] = yaml.safe_load((_ROOT / "charts/monitoring/values.yaml").read_text())["targets"]
    expected = {(f"{component}:{port}", "/metrics", "") for component, port in chart.items()}
    expected.add((f"rabbitmq:{chart['rabbitmq']}", "/metrics/detailed", "queue_coarse_metrics"))

    assert {
        (address, job.get("metrics_path", "/metrics"), *job.get("params", {"family": [""]})["family"])
        for job in jobs
        for address, _ in targets(job)
    } == expected


def targets(job: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Returns each target's address and labels."""
    for group in job["static_configs"]:
        for address in group["targets"]:
            yield address, group.get("labels", {}) | relabelled(address, job.get("relabel_configs", ()))


def relabelled(address: str, rules: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Returns the labels that relabelling derives from a target's address."""
    found = {rule["target_label"]: re.fullmatch(rule["regex"], address) for rule in rules}
    return {label: match[1] for label, match in found.items() if match}
