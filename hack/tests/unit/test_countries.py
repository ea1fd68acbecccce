"""The operator's list of countries, which it has for its CRD, is that of the services."""

from typing import Any

import pytest
from chassis.types import countries

from platform_operator.api.shop_settings import COUNTRIES, OrderSettings


def test_the_custom_resource_has_the_countries_of_the_services() -> None:
    assert set(COUNTRIES.split()) == countries.COUNTRIES


@pytest.mark.parametrize("field", ["homeCountry", "taxBasisPoints"])
def test_a_rule_for_countries_compares_with_the_list_and_says_what_to_write(field: str) -> None:
    schema: dict[str, Any] = OrderSettings.model_json_schema(by_alias=True)["properties"][field]
    (rule,) = schema["x-kubernetes-validations"]
    for code in countries.COUNTRIES:
        assert f"'{code}'" in rule["rule"]
    assert "'UK'" not in rule["rule"]
    assert "GB for the United Kingdom" in rule["message"]
