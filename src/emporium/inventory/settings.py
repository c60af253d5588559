"""What a shop decides about its stock."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class InventorySettings(BaseModel):
    """The section ``inventory`` of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low_stock_pieces: int = Field(
        5,
        ge=0,
        le=1_000_000,
        description="free pieces of a product at which its stock counts as low",
    )
