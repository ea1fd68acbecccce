"""The settings that this service reads from its environment."""

from collections.abc import Mapping
from typing import Annotated

from chassis.settings import Address, BackendSettings
from pydantic import BaseModel, ConfigDict, Field, Json

from order_service.domain.pricing import BASIS_POINTS, FlatRate, FlatRates, PercentageByCountry, PricingRules

_Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]
_Country = Annotated[str, Field(pattern="^[A-Z]{2}$")]
_Amount = Annotated[int, Field(ge=0, le=1_000_000_000_00)]
_BasisPoints = Annotated[int, Field(ge=0, le=BASIS_POINTS)]


class ShippingRate(BaseModel):
    """The shipping rate of one currency, in its minor units."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    amount: _Amount
    """What shipping an order costs."""
    free_from: Annotated[_Amount | None, Field(alias="freeFrom")] = None
    """The subtotal from which shipping is free; by default it never is."""


class Settings(BackendSettings):
    """The settings of the order service."""

    user_grpc: Address
    """The user service as host:port; its public keys verify access tokens."""
    product_grpc: Address
    """The product service as host:port; it gives names and prices."""
    inventory_grpc: Address
    """The inventory service as host:port; it reserves stock."""
    reservation_hold_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """How long stock is reserved for an order that is being placed, in seconds; after a crash it is free that soon."""
    order_ttl_seconds: Annotated[float, Field(gt=0, le=30 * 86_400)] = 1800.0
    """How long an order may stay unpaid before it is cancelled, in seconds."""
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
    home_country: _Country | None = None
    """The country in which an order without an address is taxed; by default such an order is not taxed."""

    @property
    def pricing(self) -> PricingRules:
        rates = {currency: FlatRate(rate.amount, rate.free_from) for currency, rate in self.shipping_rates.items()}
        return PricingRules(FlatRates(rates), PercentageByCountry(self.tax_basis_points, self.home_country))
