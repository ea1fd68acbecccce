from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from platform_operator.crd import crd, crd_yaml
from platform_operator.spec import LONGEST_NAME, SERVICES, parse

ROOT = Path(__file__).parents[3]
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
