"""What can be told about calls to other processes: the settings section ``remote``."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from portico.resilience.breaker import Rules


class RemoteSettings(BaseModel):
    """Deadlines, retries, circuit breakers and bulkheads of calls that leave the process."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    margin_ms: float = Field(
        5.0,
        ge=0,
        le=1000,
        description="of a call's time, what is kept back to report that it is up; a tenth of it at most",
    )
    attempts: int = Field(
        3,
        ge=1,
        le=5,
        description="tries of an idempotent rpc that finds nobody; 1 never tries again",
    )
    first_backoff_ms: int = Field(50, ge=1, le=60_000, description="wait before the second try")
    most_backoff_ms: int = Field(500, ge=1, le=60_000, description="longest wait between two tries")
    retry_tokens: int = Field(
        10, ge=1, le=1000, description="tries again stop when half of these are used up by failures"
    )
    retry_token_ratio: float = Field(
        0.1, gt=0, le=1, description="tokens that a call which succeeds gives back"
    )
    most_reconnect_ms: int = Field(
        2000, ge=100, le=120_000, description="longest wait before connecting anew"
    )
    keepalive_seconds: float = Field(
        20.0, ge=10, le=7200, description="a quiet connection is probed after this"
    )
    keepalive_timeout_seconds: float = Field(
        5.0, gt=0, le=60, description="a probe without an answer ends the connection after this"
    )
    most_calls: int = Field(
        200, ge=1, le=100_000, description="calls to one process at once; further ones are refused"
    )
    breaker: bool = Field(default=True, description="whether circuits open at all")
    failure_rate: float = Field(
        0.5, gt=0, le=1, description="share of failed calls at which a circuit opens"
    )
    slow_rate: float = Field(
        0.75, gt=0, le=1, description="share of slow calls at which a circuit opens"
    )
    slow_seconds: float = Field(2.0, gt=0, le=3600, description="a longer unary call is slow")
    window_calls: int = Field(20, ge=1, le=10_000, description="the last calls that are counted")
    least_calls: int = Field(
        10, ge=1, le=10_000, description="with fewer calls counted no circuit opens"
    )
    open_seconds: float = Field(
        10.0, gt=0, le=3600, description="how long an open circuit refuses calls"
    )
    probes: int = Field(3, ge=1, le=1000, description="calls that a half-open circuit lets through")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.first_backoff_ms > self.most_backoff_ms:
            raise ValueError("remote.first_backoff_ms must not be above remote.most_backoff_ms")
        if self.least_calls > self.window_calls:
            raise ValueError("remote.least_calls must not be above remote.window_calls")
        return self

    def rules(self) -> Rules:
        """The rules of every circuit."""
        return Rules(
            failure_rate=self.failure_rate,
            slow_rate=self.slow_rate,
            calls=self.window_calls,
            least_calls=self.least_calls,
            open_seconds=self.open_seconds,
            probes=self.probes,
        )
