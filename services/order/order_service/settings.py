"""What this service reads from its environment."""

from collections.abc import Mapping
from typing import Annotated

from chassis.settings import Address, BackendSettings
from pydantic import BaseModel, ConfigDict, Field, Json

from order_service.domain.charges import BASIS_POINTS, FlatRate, FlatRates, PercentageByCountry, Tariff

_Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]
_Country = Annotated[str, Field(pattern="^[A-Z]{2}$")]
_Amount = Annotated[int, Field(ge=0, le=1_000_000_000_00)]


class ShippingRate(BaseModel):
    """Minor units of its currency."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    amount: _Amount
    free_from: _Amount | None = None


class Settings(BackendSettings):
    user_grpc: Address
    product_grpc: Address
    inventory_grpc: Address
    reservation_hold_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """How long stock is set aside for an order that is being placed; a crash in between holds it no longer than this."""
    order_ttl_seconds: Annotated[float, Field(gt=0, le=30 * 86_400)] = 1800.0
    """How long an order may stay unpaid."""
    expiry_sweep_seconds: float = 1.0
    """How often unpaid orders whose time is over are looked for."""
    look_deadline_seconds: Annotated[float, Field(gt=0)] = 0.5
    """How long showing a cart waits for what is in stock; without it the cart is shown all the same."""
    shipping_rates: Json[Mapping[_Currency, ShippingRate]] = Field(default_factory=dict)
    """JSON, by currency, like {"USD": {"amount": 499, "free_from": 5000}}; free where it says nothing."""
    tax_basis_points: Json[Mapping[_Country, Annotated[int, Field(ge=0, le=BASIS_POINTS)]]] = Field(
        default_factory=dict
    )
    """JSON, by country, like {"DE": 1900}: hundredths of a percent of goods and shipping; none where it says nothing."""
    home_country: _Country | None = None
    """Where an order without an address is taxed."""

    @property
    def tariff(self) -> Tariff:
        rates = {currency: FlatRate(rate.amount, rate.free_from) for currency, rate in self.shipping_rates.items()}
        return Tariff(FlatRates(rates), PercentageByCountry(self.tax_basis_points, self.home_country))
