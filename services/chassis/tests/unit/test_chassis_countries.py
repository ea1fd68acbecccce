"""Countries are known by membership in ISO 3166-1, not by the shape of their code."""

import pytest
from chassis.types.countries import COUNTRIES, check_country


def test_the_table_has_the_countries_of_the_standard() -> None:
    assert len(COUNTRIES) == 249
    assert {"DE", "GB", "GR", "US", "TW", "AX", "SX", "SS"} <= COUNTRIES
    assert all(len(code) == 2 and code.isascii() and code.isupper() for code in COUNTRIES)


@pytest.mark.parametrize("code", ["ZZ", "XX", "AN", "SU", "EU", "de", "DEU", ""])
def test_a_code_that_is_not_assigned_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match=r"not a country of ISO 3166-1: write the country's code"):
        check_country(code)


@pytest.mark.parametrize(("code", "meant"), [("UK", "GB"), ("EL", "GR")])
def test_a_code_that_is_common_and_wrong_gets_a_hint(code: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"write {meant}$"):
        check_country(code)


def test_a_country_is_returned() -> None:
    assert check_country("GB") == "GB"
