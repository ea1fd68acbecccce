from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform_operator.api.crd import crd, crd_yaml
from platform_operator.api.kinds import PLATFORM, Key
from platform_operator.api.spec import LONGEST_NAME, SERVICES, parse
from platform_operator.render.values import Installation, values

ROOT = Path(__file__).parents[3]
SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], f"{path}.*")


def test_the_committed_crd_is_current() -> None:
    assert (ROOT / "crds" / "ecommerceplatform.yaml").read_text() == crd_yaml(), "run make crds"


def test_the_operators_chart_ships_the_same_crd() -> None:
    shipped = ROOT / "charts" / "operator" / "files" / "ecommerceplatform.yaml"
    assert shipped.samefile(ROOT / "crds" / "ecommerceplatform.yaml")


def test_the_crd_is_plain_yaml_without_aliases() -> None:
    assert "&id" not in crd_yaml()
    assert yaml.safe_load(crd_yaml()) == crd()


def test_every_field_of_the_spec_is_described() -> None:
    fields = [(path, schema) for path, schema in walk(SCHEMA["properties"]["spec"]) if not path.endswith("*")]
    assert [path for path, schema in fields if not schema.get("description")] == []


def test_every_rule_says_what_to_write_or_do() -> None:
    rules = [rule for _, schema in walk(SCHEMA) for rule in schema.get("x-kubernetes-validations", [])]
    assert len(rules) >= 20
    advice = (
        "write",
        "must be",
        "must begin",
        "must not",
        "remove",
        "keep",
        "needs",
        "shorten",
        "set ",
        "correct",
        "use ",
    )
    assert [rule["message"] for rule in rules if not any(word in rule["message"] for word in advice)] == []


def test_an_empty_spec_is_defaulted_to_a_small_builtin_shop() -> None:
    default = SCHEMA["properties"]["spec"]["default"]
    assert (default["profile"], default["databases"], default["paused"]) == ("small", {"provider": "builtin"}, False)
    assert parse(default) == parse({})


def test_names_of_children_fit_into_labels() -> None:
    longest_component = max(len(f"{service}-db") for service in SERVICES)
    controllers_hash = len("-0123456789")
    assert LONGEST_NAME + 1 + longest_component + controllers_hash <= 63


def platforms_of(sample: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(sample.read_text()) if one["kind"] == PLATFORM.kind]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_sample_says_nothing_that_the_schema_would_drop_or_refuse(sample: Path) -> None:
    """But for the rules in CEL, which the API server knows: operator/tests/api asks it."""
    (platform,) = platforms_of(sample)
    assert list(complaints(platform["spec"], SCHEMA["properties"]["spec"])) == []
    assert values(Key("shop", "shop"), parse(platform["spec"]), Installation("1"), "small")


def test_the_full_sample_names_every_field_but_those_that_exclude_its_own() -> None:
    (platform,) = platforms_of(next(path for path in SAMPLES if "full" in path.name))
    absent = SCHEMA["properties"]["spec"]["properties"].keys() - platform["spec"].keys()
    assert absent == {"backup"}


def complaints(value: Any, schema: dict[str, Any], path: str = "spec") -> Iterator[str]:
    """Where a value is not as a structural schema has it."""
    python = {"object": dict, "string": str, "integer": int, "boolean": bool}[schema["type"]]
    if not isinstance(value, python):
        yield f"{path} is no {schema['type']}"
    elif isinstance(value, dict):
        yield from (f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, inner in value.items():
            known = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            if known is None:
                yield f"{path}.{name} is not known"
            else:
                yield from complaints(inner, known, f"{path}.{name}")


def test_the_schema_check_of_the_samples_notices_what_is_wrong() -> None:
    wrong = {"payments": {"provider": 1, "secret": "x", "secretRef": {}}, "services": {"order": {"replicas": "2"}}}
    assert list(complaints(wrong, SCHEMA["properties"]["spec"])) == [
        "spec.payments.provider is no string",
        "spec.payments.secret is not known",
        "spec.payments.secretRef.name is missing",
        "spec.services.order.replicas is no integer",
    ]
