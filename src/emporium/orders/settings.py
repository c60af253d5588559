"""What a shop decides about its orders."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class OrdersSettings(BaseModel):
    """The section ``orders`` of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: str = Field(
        "USD",
        pattern=r"^[A-Z]{3}$",
        description="the shop's one currency, with two decimals (ISO 4217)",
    )
    hold_seconds: int = Field(
        900, ge=1, le=86_400, description="how long the stock of an unpaid order is certainly kept"
    )
