"""The settings that this service reads from its environment."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from chassis.settings import (
    Address,
    BackendSettings,
    CurrencySettings,
    GrpcCalleeSettings,
    GrpcCallerSettings,
    validate_currency,
)
from chassis.types.charges import ProviderName, charge_rules
from chassis.types.countries import check_country
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Json, ValidationInfo, field_validator

from order_service.domain.expiry import ExpiryPolicy
from order_service.domain.pricing import BASIS_POINTS, FlatRate, FlatRates, PercentageByCountry, PricingRules

_Currency = Annotated[str, AfterValidator(validate_currency)]
_Country = Annotated[str, Field(pattern="^[A-Z]{2}$"), AfterValidator(check_country)]
_Amount = Annotated[int, Field(ge=0, le=1_000_000_000_00)]
_BasisPoints = Annotated[int, Field(ge=0, le=BASIS_POINTS)]


class ShippingRate(BaseModel):
    """The shipping rate of one currency, in its minor units."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    amount: _Amount
    """What shipping an order costs."""
    free_from: Annotated[_Amount | None, Field(alias="freeFrom")] = None
    """The subtotal from which shipping is free; by default it never is."""


class Settings(BackendSettings, GrpcCallerSettings, GrpcCalleeSettings, CurrencySettings):
    """The settings of the order service."""

    user_grpc: Address
    """The user service as host:port; its public keys verify access tokens."""
    product_grpc: Address
    """The product service as host:port; it gives names and prices."""
    inventory_grpc: Address
    """The inventory service as host:port; it reserves stock."""
    payment_grpc: Address
    """The payment service as host:port; it says what is paid before an unpaid order expires."""
    reservation_hold_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """How long stock is reserved for an order that is being placed, in seconds.

    Then inventory asks for the order, and releases the stock of one that is not stored.
    """
    order_ttl_seconds: Annotated[float, Field(gt=0, le=30 * 86_400)] = 1800.0
    """How long an order may stay unpaid, in seconds; it is cancelled a margin later, unless payment knows of one."""
    payment_margin_seconds: Annotated[float, Field(ge=0, le=600)] = 30.0
    """How long before its expiry an order ceases to be payable, and how long after it payment is asked, in seconds.

    At most a quarter of ORDER_TTL_SECONDS takes effect.
    """
    payment_wait_seconds: Annotated[float, Field(ge=0, le=30 * 86_400)] = 86_400.0
    """How long after its expiry an order still waits for a payment that is in process, in seconds.

    Then it is cancelled, and what is captured later is refunded.
    """
    expiry_sweep_seconds: float = 1.0
    """Seconds between two searches for unpaid orders to cancel."""
    look_deadline_seconds: Annotated[float, Field(gt=0)] = 0.5
    """How long getting a cart waits for inventory, in seconds; then the cart is returned without availability."""
    open_orders_per_buyer: Annotated[int, Field(ge=1)] = 10
    """How many unpaid orders a buyer may have at a time; a further one is refused until one is paid or cancelled."""
    open_units_per_product: Annotated[int, Field(ge=1)] = 1000
    """How many units of one product a buyer may have in unpaid orders, the new one included."""
    shipping_rates: Json[Mapping[_Currency, ShippingRate]] = Field(default_factory=dict)
    """Shipping rates by currency: JSON like {"USD": {"amount": 499, "freeFrom": 5000}}; free in other currencies."""
    tax_basis_points: Json[Mapping[_Country, _BasisPoints]] = Field(default_factory=dict)
    """Tax on goods and shipping by country in hundredths of a percent: JSON like {"DE": 1900}; none elsewhere."""
    report_timezone: ZoneInfo = ZoneInfo("UTC")
    """The IANA time zone whose days, weeks and months sales reports have, unless a request names another."""
    home_country: _Country | None = None
    """The country in which an order without an address is taxed; with taxes and without it, orders need an address."""

    payment_provider: ProviderName = ProviderName.SIMULATED
    """The payment provider, as the payment service has it: a total that it cannot charge is refused."""

    @field_validator("shipping_rates")
    @classmethod
    def _are_in_currencies_of_the_shop(
        cls, rates: Mapping[str, ShippingRate], known: ValidationInfo
    ) -> Mapping[str, ShippingRate]:
        offered = known.data.get("currencies") or rates
        unknown = sorted(rates.keys() - offered)
        if unknown:
            raise ValueError(
                f"CURRENCIES is {','.join(offered)}, without {', '.join(unknown)}: add it, or remove its rate"
            )
        return rates

    @property
    def expiry(self) -> ExpiryPolicy:
        margin = min(self.payment_margin_seconds, self.order_ttl_seconds / 4)
        return ExpiryPolicy(timedelta(seconds=margin), timedelta(seconds=self.payment_wait_seconds))

    @property
    def pricing(self) -> PricingRules:
        rates = {currency: FlatRate(rate.amount, rate.free_from) for currency, rate in self.shipping_rates.items()}
        tax = PercentageByCountry(self.tax_basis_points, self.home_country)
        return PricingRules(FlatRates(rates), tax, charge_rules(self.payment_provider))
