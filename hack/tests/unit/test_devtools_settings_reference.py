"""Every setting is documented, and the typed ones of the charts are also fields of the custom resource."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from devtools.services import SERVICES
from devtools.settings_reference import camel_case, document, exposed, set_by, settings_of
from product_service.domain.search_terms import SearchLanguage

_ROOT = Path(__file__).parents[3]
_DOCUMENT = _ROOT / "docs/settings.md"


def _custom_resource() -> dict[str, Any]:
    version, *_ = yaml.safe_load((_ROOT / "crds/ecommerceplatform.yaml").read_text())["spec"]["versions"]
    spec: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def _has(path: str, schema: dict[str, Any]) -> bool:
    for name in path.split("."):
        schema = schema.get("properties", {}).get(name) or {}
    return bool(schema)


def test_the_reference_is_current() -> None:
    assert _DOCUMENT.read_text() == document()


@pytest.mark.parametrize("service", SERVICES)
def test_the_settings_of_a_chart_are_those_of_the_custom_resource_and_of_the_code(service: str) -> None:
    fields = _custom_resource()["properties"]["settings"]["properties"].get(service, {}).get("properties", {})

    assert set(fields) == exposed(service)
    assert exposed(service) <= {camel_case(name) for name in settings_of(service).model_fields}


def test_the_search_languages_of_chart_and_custom_resource_are_those_of_the_code() -> None:
    schema = json.loads((_ROOT / "charts/product/values.schema.json").read_text())["properties"]["settings"]
    field = _custom_resource()["properties"]["settings"]["properties"]["product"]["properties"]["searchLanguage"]

    assert schema["properties"]["searchLanguage"]["enum"] == list(SearchLanguage)
    assert [rule["rule"] for rule in field["x-kubernetes-validations"]] == [f"self in {[*map(str, SearchLanguage)]}"]


@pytest.mark.parametrize("service", SERVICES)
def test_what_sets_a_setting_exists_in_chart_and_custom_resource(service: str) -> None:
    values = yaml.safe_load((_ROOT / "charts/platform/values.yaml").read_text())

    for name in settings_of(service).model_fields:
        for place in set_by(name.upper(), service):
            if place.startswith("spec."):
                assert _has(place.removeprefix("spec."), _custom_resource()), place
            elif " " not in place and ".settings." not in place:
                group, part, *_ = place.replace("<service>", service).split(".")
                assert part in values[group], place
