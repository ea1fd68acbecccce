"""The countries of addresses and taxes.

Source: ISO 3166-1, the officially assigned alpha-2 codes, as the time zone database has them in iso3166.tab (2026).
"""

from collections.abc import Mapping

_CODES = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY
    BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK
    FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR
    IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK
    ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF
    TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_CODES.split())
"""The code of every country."""
_MEANT: Mapping[str, str] = {"UK": "GB", "EL": "GR"}
"""The codes of countries by codes that are in use for them, and that ISO 3166-1 does not assign."""


def check_country(code: str) -> str:
    """Returns the code if ISO 3166-1 assigns it to a country. Raises ValueError, which says what to write."""
    if code in COUNTRIES:
        return code
    hint = f"write {_MEANT[code]}" if code in _MEANT else "write the country's code of two letters, such as DE"
    raise ValueError(f"{code!r} is not a country of ISO 3166-1: {hint}")
