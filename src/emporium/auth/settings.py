"""What an operator decides about log-in: lifetimes, limits, and what guessing a password costs."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_DAY_SECONDS = 24 * 60 * 60
_LEAST_KIB_PER_LANE = 8


class AuthSettings(BaseModel):
    """The section ``auth`` of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(
        "emporium", min_length=1, max_length=200, description="the `iss` of access tokens"
    )
    access_lifetime_seconds: int = Field(
        900, ge=1, le=_DAY_SECONDS, description="how long an access token is good"
    )
    refresh_lifetime_seconds: int = Field(
        30 * _DAY_SECONDS,
        ge=1,
        le=400 * _DAY_SECONDS,
        description="how long a refresh token waits for its use; each use starts the time anew",
    )

    lockout_failures: int = Field(
        10, ge=1, le=100, description="wrong passwords in a row after which an email is locked"
    )
    lockout_seconds: int = Field(
        900, ge=1, le=_DAY_SECONDS, description="time since the last wrong password that unlocks it"
    )

    # RFC 9106, section 4: the second recommended choice, for machines that do other things as well.
    argon2_passes: int = Field(3, ge=1, le=100, description="argon2id: passes over the memory")
    argon2_memory_kib: int = Field(
        64 * 1024, ge=8, le=4 * 1024**2, description="argon2id: memory of one hash in KiB"
    )
    argon2_lanes: int = Field(4, ge=1, le=64, description="argon2id: threads of one hash")
    concurrent_hashes: int = Field(4, ge=1, le=1024, description="hashes at a time in this process")
    # Both together leave some of the kernel's 8 threads to everybody who needs no hash.
    waiting_hashes: int = Field(
        2, ge=0, le=1024, description="calls that wait for a hash; further ones are refused at once"
    )

    @model_validator(mode="after")
    def _enough_memory_for_the_lanes(self) -> Self:
        if self.argon2_memory_kib < _LEAST_KIB_PER_LANE * self.argon2_lanes:
            raise ValueError("argon2_memory_kib must be at least 8 times argon2_lanes")
        return self
