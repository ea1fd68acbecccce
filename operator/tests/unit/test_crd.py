import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform_operator.api.admission import chart_policies
from platform_operator.api.crd_generator import CRDS, crd, crd_yaml
from platform_operator.api.kinds import GROUP, PLATFORM, PlatformKey
from platform_operator.api.spec import MAX_NAME_LENGTH, SERVICES, parse
from platform_operator.render.values import Installation, chart_values

ROOT = Path(__file__).parents[3]
TENANT_SAMPLES = sorted((ROOT / "manifests" / "samples" / "tenants").glob("tenant*.yaml"))
SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], f"{path}.*")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}.*")


@pytest.mark.parametrize("kind", CRDS)
def test_every_committed_crd_is_current(kind: str) -> None:
    assert (ROOT / "crds" / f"{kind.lower()}.yaml").read_text() == crd_yaml(kind), "run make crds"


def test_the_committed_policies_for_tenants_are_current() -> None:
    committed = yaml.safe_load((ROOT / "charts" / "operator" / "files" / "tenantpolicy.yaml").read_text())
    assert committed == chart_policies(), "run make crds"


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_of_a_status_and_a_spec_is_described(kind: str) -> None:
    (schema, *_) = (one["schema"]["openAPIV3Schema"] for one in CRDS[kind]()["spec"]["versions"])
    parts = [schema["properties"][part] for part in ("spec", "status") if part in schema["properties"]]
    fields = [(path, one) for part in parts for path, one in walk(part) if path and not path.endswith("*")]
    assert [path for path, one in fields if not one.get("description")] == []


@pytest.mark.parametrize("sample", TENANT_SAMPLES, ids=lambda path: path.name)
def test_a_sample_of_tenants_has_only_fields_that_the_schema_accepts(sample: Path) -> None:
    manifest = yaml.safe_load(sample.read_text())
    schema = CRDS[manifest["kind"]]()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert list(mismatches(manifest["spec"], schema["properties"]["spec"])) == []


def test_the_operators_chart_ships_the_same_crds() -> None:
    """They are files of their own: a symbolic link is its target's path to who reads it by a raw URL."""
    shipped, source = ROOT / "charts" / "operator" / "files" / "crds", ROOT / "crds"
    assert {path.name for path in shipped.iterdir()} == {path.name for path in source.iterdir()}
    for path in source.iterdir():
        assert (shipped / path.name).read_text() == path.read_text(), "run make manifests"
        assert not path.is_symlink()
        assert not (shipped / path.name).is_symlink()


def test_every_version_has_the_same_schema_and_the_operator_uses_the_stored_one() -> None:
    """No object needs converting then: docs/adr/0059."""
    versions = crd()["spec"]["versions"]
    assert crd()["spec"]["conversion"] == {"strategy": "None"}
    assert [version["name"] for version in versions if version["served"]] == ["v1beta1", "v1alpha1"]
    (stored,) = (version["name"] for version in versions if version["storage"])
    assert PLATFORM.api_version == f"{GROUP}/{stored}"
    assert all(version["schema"] == versions[0]["schema"] for version in versions)
    assert all(version["additionalPrinterColumns"] == versions[0]["additionalPrinterColumns"] for version in versions)


def test_a_crd_can_be_applied_without_server_side_apply() -> None:
    """`kubectl apply` stores the whole object in an annotation, and the annotations of an object have a limit."""
    for path in (ROOT / "crds").iterdir():
        assert len(json.dumps(yaml.safe_load(path.read_text()))) < 250_000, path


def test_the_crd_is_plain_yaml_without_aliases() -> None:
    assert "&id" not in crd_yaml()
    assert yaml.safe_load(crd_yaml()) == crd()


@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_is_described_for_kubectl_explain(part: str) -> None:
    fields = [(path, schema) for path, schema in walk(SCHEMA["properties"][part]) if not path.endswith("*")]
    assert len(fields) > 50, "lists are walked too"
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


def test_no_item_of_a_list_has_defaults() -> None:
    """Argo CD compares a list as a whole: a default that the API server adds to an item would differ for ever."""

    def defaults(schema: dict[str, Any], *, in_list: bool) -> Iterator[dict[str, Any]]:
        if in_list and "default" in schema:
            yield schema
        for inner in (*schema.get("properties", {}).values(), schema.get("additionalProperties")):
            yield from defaults(inner, in_list=in_list) if inner else ()
        yield from defaults(schema["items"], in_list=True) if "items" in schema else ()

    assert list(defaults(SCHEMA["properties"]["spec"], in_list=False)) == []


def test_only_parts_of_an_affinity_keep_fields_that_the_schema_does_not_know() -> None:
    open_ended = [path for path, schema in walk(SCHEMA) if schema.get("x-kubernetes-preserve-unknown-fields")]
    affinity = ".spec.pods.affinity."
    parts = [f"{affinity}{name}" for name in ("nodeAffinity", "podAffinity", "podAntiAffinity")]
    assert open_ended == parts


def test_an_empty_spec_is_defaulted_to_a_small_builtin_shop() -> None:
    default = SCHEMA["properties"]["spec"]["default"]
    assert (default["profile"], default["databases"], default["paused"]) == ("small", {"provider": "builtin"}, False)
    assert parse(default) == parse({})


def test_names_of_children_fit_into_labels() -> None:
    longest_component = max(len(f"{service}-db") for service in SERVICES)
    controllers_hash = len("-0123456789")
    assert MAX_NAME_LENGTH + 1 + longest_component + controllers_hash <= 63


def platforms_of(sample: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(sample.read_text()) if one["kind"] == PLATFORM.kind]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_sample_has_only_fields_that_the_schema_accepts(sample: Path) -> None:
    """Except the CEL rules, which only the API server checks: see operator/tests/api."""
    (platform,) = platforms_of(sample)
    assert list(mismatches(platform["spec"], SCHEMA["properties"]["spec"])) == []
    assert chart_values(PlatformKey("shop", "shop"), parse(platform["spec"]), Installation("1"), "small")


def test_the_full_sample_has_every_available_field() -> None:
    (platform,) = platforms_of(next(path for path in SAMPLES if "full" in path.name))
    absent = SCHEMA["properties"]["spec"]["properties"].keys() - platform["spec"].keys()
    assert absent == {"operatorClassName"}


def mismatches(value: Any, schema: dict[str, Any], path: str = "spec") -> Iterator[str]:
    """Yields where a value does not match a structural schema."""
    types: dict[str, type[Any] | tuple[type[Any], ...]] = {
        "object": dict,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "array": list,
    }
    if not isinstance(value, types[schema["type"]]):
        yield f"{path} is not of type {schema['type']}"
    elif isinstance(value, dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        yield from (f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, inner in value.items():
            known = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            if known is None:
                yield f"{path}.{name} is unknown"
            else:
                yield from mismatches(inner, known, f"{path}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from mismatches(inner, schema["items"], f"{path}[{number}]")


def test_the_schema_check_of_the_samples_finds_errors() -> None:
    wrong = {"payments": {"provider": 1, "secret": "x", "secretRef": {}}, "services": {"order": {"replicas": "2"}}}
    assert list(mismatches(wrong, SCHEMA["properties"]["spec"])) == [
        "spec.payments.provider is not of type string",
        "spec.payments.secret is unknown",
        "spec.payments.secretRef.name is missing",
        "spec.services.order.replicas is not of type integer",
    ]
