"""The rotating background sample: what heartbeats cannot see (damage in the source) is met by looking at everything a
little, within a share of one core.

A bucket fills with CPU seconds at `cpu_share` a second and each sampled look empties it by what it cost, so the share
holds whatever a look costs. All streams take their turn, in an order drawn anew each round.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from server_probe.look import Look
from server_probe.registry import StreamRegistry
from tocsin.model.errors import ConfigError

BURST_S = 2.0
"""CPU seconds the bucket holds: after an idle night the sample does not make up for it at once."""


class Sampler:
    """Says which stream to look at next. Time and randomness are passed in: epoch seconds, a seed, `new_id`."""

    def __init__(
        self,
        registry: StreamRegistry,
        *,
        cpu_share: float,
        seed: int,
        new_id: Callable[[], str],
        detectors: tuple[str, ...] = (),
    ) -> None:
        if not 0 <= cpu_share <= 1:
            raise ConfigError(f"sampling streams: cpu_share={cpu_share}; give 0 (off) to 1 (a whole core)")
        self._registry = registry
        self._cpu_share = cpu_share
        self._random = random.Random(seed)  # noqa: S311 - an order of turns, no secret
        self._new_id = new_id
        self._detectors = detectors
        self._credit_s = BURST_S
        self._filled_ts_s: float | None = None
        self._round = -1
        self._queue: list[str] = []

    def due(self, now_ts_s: float) -> Look | None:
        """The next look if the budget allows one now, else None."""
        if self._cpu_share == 0:
            return None
        since_s = 0.0 if self._filled_ts_s is None else max(0.0, now_ts_s - self._filled_ts_s)
        self._filled_ts_s = now_ts_s
        self._credit_s = min(BURST_S, self._credit_s + since_s * self._cpu_share)
        if self._credit_s <= 0:
            return None
        stream = self._next()
        if stream is None:
            return None
        return Look(
            id=self._new_id(),
            stream=stream,
            reason="sampled",
            queued_ts_s=now_ts_s,
            detectors=self._detectors,
            turn=self._round,
        )

    def charge(self, cpu_s: float) -> None:
        """Take what a look cost out of the bucket; it may go below zero, and then has to fill again first."""
        self._credit_s -= cpu_s

    def _next(self) -> str | None:
        while True:
            if not self._queue:
                self._queue = self._registry.ids()
                self._random.shuffle(self._queue)
                self._round += 1
                if not self._queue:
                    return None
            stream = self._queue.pop()
            if self._registry.get(stream) is not None:
                return stream
