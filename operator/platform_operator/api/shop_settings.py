"""The part of a spec that sets the services' own settings: docs/settings.md describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from platform_operator.api.schema import Model, rule, rules


def _seconds(at_least: int, at_most: int, description: str) -> Any:
    return Field(default=None, ge=at_least, le=at_most, description=description)


def _list(description: str, most: int, example: str) -> Any:
    return Field(default=None, max_length=most, description=f"{description}, for example {example}.")


CURRENCIES = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR
    ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK
    MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU
    UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
"""The currencies of ISO 4217, as `chassis.types.currencies` has them; hack/tests/unit compares the two."""
_CURRENCIES = ", ".join(f"'{code}'" for code in CURRENCIES.split())
COUNTRIES = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY
    BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK
    FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR
    IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK
    ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF
    TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
"""The countries of ISO 3166-1, as `chassis.types.countries` has them; hack/tests/unit compares the two."""
_COUNTRIES = ", ".join(f"'{code}'" for code in COUNTRIES.split())
_COUNTRY_ADVICE = "write for example DE, GB for the United Kingdom, and GR for Greece"

GrpcAuthentication: TypeAlias = Literal["required", "optional"]
Entry = Annotated[str, Field(min_length=1, max_length=253)]
SEARCH_LANGUAGES = [
    "simple",
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
]
"""The text search configurations of PostgreSQL 17."""
BasisPoints = Annotated[int, Field(ge=0, le=10_000)]


class GatewaySettings(Model):
    """Settings of the gateway."""

    rate_limits: str | None = Field(
        default=None,
        max_length=512,
        description="`off`, or the limits that differ from the defaults: auth=30/60,read=off means 30 in 60 seconds "
        "and no limit.",
    )
    answer_cache_bytes: int | None = Field(
        default=None,
        ge=0,
        le=1024**3,
        description="Memory of a gateway for answers to public reads, in bytes; 0 turns the answer cache off.",
    )
    trusted_proxies: list[Entry] | None = _list(
        "Networks whose X-Forwarded-* headers say where a request comes from", 32, "10.0.0.0/8"
    )
    cors_origins: list[Entry] | None = _list(
        "Origins of web pages that may call the API", 32, "https://shop.example.com"
    )


class UserSettings(Model):
    """Settings of accounts, sessions and logins."""

    access_token_seconds: int | None = _seconds(1, 86_400, "Lifetime of an access token.")
    refresh_token_seconds: int | None = _seconds(1, 31_536_000, "Lifetime of a session that is not refreshed.")
    verification_token_seconds: int | None = _seconds(60, 2_592_000, "Lifetime of an e-mail verification token.")
    reset_token_seconds: int | None = _seconds(60, 86_400, "Lifetime of a password reset token.")
    mails_per_hour: int | None = Field(default=None, ge=1, le=1000, description="Mails of a kind per account and hour.")
    login_failures_allowed: int | None = Field(
        default=None, ge=1, le=100, description="Wrong passwords in a row, from a network, before an address must wait."
    )
    login_failures_account_allowed: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Wrong passwords in a row, from all networks, before an address waits.",
    )
    login_wait_seconds: int | None = _seconds(1, 3600, "First wait after too many wrong passwords; it doubles.")
    login_wait_max_seconds: int | None = _seconds(1, 86_400, "Longest wait after wrong passwords.")


class ProductSettings(Model):
    """Settings of the catalogue."""

    search_language: str | None = Field(
        default=None,
        max_length=20,
        description="Language whose words are also found by their stems; simple: as written.",
        json_schema_extra=rules(
            rule(
                f"self in {SEARCH_LANGUAGES}",
                "searchLanguage must be a text search configuration of PostgreSQL: write for example german",
            )
        ),
    )


class InventorySettings(Model):
    """Settings of the stock."""

    low_stock_threshold: int | None = Field(
        default=None, ge=0, le=1_000_000, description="Stock below which a product is low, unless its seller says so."
    )
    exact_stock_up_to: int | None = Field(
        default=None, ge=0, le=1_000_000_000, description="Largest number of units that the public is told."
    )


class ShippingRate(Model):
    """A flat rate in minor units of its currency."""

    amount: int = Field(ge=0, le=100_000_000_000, description="Price of shipping an order.")
    free_from: int | None = Field(
        default=None, ge=0, le=100_000_000_000, description="Subtotal from which shipping is free."
    )


class OrderSettings(Model):
    """Settings of orders and their prices."""

    order_ttl_seconds: int | None = _seconds(1, 2_592_000, "How long an order may stay unpaid.")
    payment_wait_seconds: int | None = _seconds(
        0, 2_592_000, "How long an expired order still waits for a payment that is in process."
    )
    open_orders_per_buyer: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Unpaid orders that a buyer may have at a time."
    )
    open_units_per_product: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="Units of a product that a buyer may have in unpaid orders."
    )
    shipping_rates: dict[str, ShippingRate] | None = Field(
        default=None,
        max_length=200,
        description="Shipping rates by currency. Shipping is free in other currencies.",
        json_schema_extra=rules(
            rule(
                f"self.all(currency, currency in [{_CURRENCIES}])",
                "shippingRates must have ISO 4217 currencies as keys: write for example USD",
            )
        ),
    )
    tax_basis_points: dict[str, BasisPoints] | None = Field(
        default=None,
        max_length=250,
        description="Tax rates by country in hundredths of a percent. Other countries are not taxed.",
        json_schema_extra=rules(
            rule(
                f"self.all(country, country in [{_COUNTRIES}])",
                f"taxBasisPoints must have ISO 3166-1 countries as keys: {_COUNTRY_ADVICE}",
            )
        ),
    )
    home_country: str | None = Field(
        default=None,
        max_length=2,
        description="Country whose tax an order without an address pays. With taxes and without it, such an order is "
        "refused.",
        json_schema_extra=rules(
            rule(f"self in [{_COUNTRIES}]", f"homeCountry must be an ISO 3166-1 country: {_COUNTRY_ADVICE}")
        ),
    )
    report_timezone: str | None = Field(
        default=None,
        max_length=64,
        description="Time zone whose days sales reports have.",
        json_schema_extra=rules(
            rule(
                "self.matches('^[A-Za-z0-9_+/-]+$')",
                "reportTimezone must be an IANA time zone: write for example Europe/Berlin",
            )
        ),
    )


class NotificationSettings(Model):
    """Settings of mails and text messages."""

    history_retention_days: int | None = Field(
        default=None, ge=1, le=3650, description="How long sent messages are kept."
    )
    send_give_up_hours: int | None = Field(
        default=None, ge=1, le=720, description="How long a message is retried while its carrier is down."
    )


class ShopSettings(Model):
    """Settings of the services: those of the whole shop, then by service. Each is called like its variable in
    docs/settings.md."""

    currencies: list[Entry] | None = Field(
        default=None,
        max_length=200,
        description="Currencies in which the shop sells, for example EUR. Without it, every currency of ISO 4217.",
        json_schema_extra=rules(
            rule(
                f"self.all(currency, currency in [{_CURRENCIES}])",
                "settings.currencies must be currencies of ISO 4217: write for example USD",
            )
        ),
    )
    grpc_authentication: GrpcAuthentication | None = Field(
        default=None,
        description="Whether services refuse calls of other services without a token: required or optional. Default: "
        "required, as soon as every running service sends tokens.",
    )
    gateway: GatewaySettings = Field(default=GatewaySettings(), description="Access to the API.")
    user: UserSettings = Field(default=UserSettings(), description="Accounts, sessions and logins.")
    product: ProductSettings = Field(default=ProductSettings(), description="The catalogue.")
    inventory: InventorySettings = Field(default=InventorySettings(), description="Stock.")
    order: OrderSettings = Field(default=OrderSettings(), description="Orders and their prices.")
    notification: NotificationSettings = Field(default=NotificationSettings(), description="Messages to customers.")

    def of(self, service: str) -> Mapping[str, Any]:
        """Returns a service's settings that are set, as its chart takes them."""
        chosen: Model | None = getattr(self, service, None)
        return {} if chosen is None else chosen.model_dump(by_alias=True, exclude_none=True)
