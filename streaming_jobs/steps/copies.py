"""Which of the things that come again is a copy: what was appended under the same key within the log's last W.

Any copy counts, not only the first one, so that the answer depends on the last W of the log alone.
"""

from __future__ import annotations

from collections.abc import Hashable

from streaming_jobs.steps.settings import CountingSettings


class Copies:
    """Append time of the newest copy of each key, oldest first."""

    def __init__(self, settings: CountingSettings) -> None:
        self._horizon_ms = settings.horizon_ms
        self._kept_ms = settings.horizon_ms + settings.slack_ms + settings.bucket_ms
        self._newest: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._newest)

    def expire(self, clock_ms: int) -> None:
        """Forget keys that no message can be a copy of any more."""
        old = []
        for key, append_ms in self._newest.items():
            if append_ms >= clock_ms - self._kept_ms:
                break
            old.append(key)
        for key in old:
            del self._newest[key]

    def is_first(self, key: Hashable, append_ms: int) -> bool:
        """Whether this is no copy; call in log order."""
        before = self._newest.pop(key, None)
        self._newest[key] = append_ms
        return before is None or before < append_ms - self._horizon_ms
