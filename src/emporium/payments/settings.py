"""What a shop decides about its payments."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ProviderSettings(BaseModel):
    """One payment provider."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: int = Field(
        1, ge=0, le=1000, description="its share of the payments; 0 takes no new ones"
    )
    webhook_secret: SecretStr | None = Field(
        None,
        min_length=8,
        description="signs what it reports; without one nothing it reports is believed",
    )


class PaymentsSettings(BaseModel):
    """The section ``payments`` of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aurora: ProviderSettings = ProviderSettings()
    borealis: ProviderSettings = ProviderSettings()
    simulate: bool = Field(
        default=False,
        description="accept the demonstration's payment methods, for which nobody pays",
    )
