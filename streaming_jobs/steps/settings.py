"""What counting depends on besides the log. Same settings and same log: same results, whichever process counts."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.model.errors import ConfigError

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class CountingSettings:
    """Times in milliseconds of append time.

    `bucket_ms`: B, length of a bucket. `lateness_ms`: L, how old a heartbeat may be. `future_ms`: F, how far ahead.
    `timeout_ms`: silence after which a session has ended. `slack_ms`: S, how far the log's clock may step back.
    `bucket_bytes_max`: payload bytes after which a bucket ends early, so that memory is bounded.
    """

    bucket_ms: int = 5_000
    lateness_ms: int = 900_000
    future_ms: int = 60_000
    timeout_ms: int = 120_000
    slack_ms: int = 60_000
    idle_tick_ms: int = 15_000
    bucket_bytes_max: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        if min(self.bucket_ms, self.lateness_ms, self.future_ms, self.timeout_ms, self.slack_ms) <= 0:
            raise ConfigError("setting the times of counting: every time must be above 0 ms")
        if self.timeout_ms >= self.horizon_ms:
            raise ConfigError(
                f"setting the session time-out to {self.timeout_ms} ms: it must be below the state's horizon, "
                f"{self.horizon_ms} ms; raise the lateness or shorten the time-out"
            )

    @property
    def horizon_ms(self) -> int:
        """W = L + 1 min + F: the part of the log, by append time, that state depends on."""
        return self.lateness_ms + MINUTE_MS + self.future_ms
