"""The one tree of errors: the type says whose fault it is, the message what was done, to what, and the remedy."""

from __future__ import annotations

from typing import Literal


class TocsinError(Exception):
    """Base of every error that Tocsin raises on purpose."""


class InputError(TocsinError):
    """The caller sent something that cannot be used; nothing was stored. Answered as HTTP 4xx, exit status 2."""


class LimitExceededError(InputError):
    """A query needed more than it may have: `limit` says of what."""

    def __init__(self, message: str, limit: Literal["time", "memory", "rows"]) -> None:
        super().__init__(message)
        self.limit = limit


class ConfigError(InputError):
    """The configuration cannot be used; names the key, the value and the remedy."""


class UnavailableError(TocsinError):
    """A part that Tocsin leans on (log, store, webhook, origin) is away; the same call may succeed later."""


class CorruptError(TocsinError):
    """Stored bytes are not what was written; the bytes are quarantined, never guessed at."""
