"""Clipped sound: seconds in which more than 0.1 % of the samples are at .985 of full scale or above."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from server_probe.detectors.base import Sound, SpanDetector, State

LEVEL = 0.985
SHARE = 0.001
WINDOW_S = 1.0


class ClippingDetector(SpanDetector):
    """Windows of one second in which the sound is clipped."""

    name: ClassVar[str] = "clipping"
    needs: ClassVar[frozenset[str]] = frozenset({"sound"})
    may_be_meant: ClassVar[bool] = True
    unit: ClassVar[str] = "share of samples at full scale"
    threshold: ClassVar[float] = SHARE
    length_s_min: ClassVar[float] = 1.0

    def __init__(self) -> None:
        super().__init__()
        self._window: tuple[float, int, int] | None = None

    def sound(self, sound: Sound) -> None:
        """Take one block."""
        start_s, clipped, seen = self._window or (sound.at_s, 0, 0)
        clipped += int(np.count_nonzero(np.abs(sound.samples) >= LEVEL))
        seen += sound.samples.size
        if sound.end_s - start_s < WINDOW_S:
            self._window = (start_s, clipped, seen)
            return
        self._window = None
        share = clipped / seen
        if share > SHARE:
            worst = self._worst()
            self._on(start_s, share, worse=worst is None or share > worst)
        else:
            self._off(start_s)

    def state(self) -> State:
        """See `Detector.state`."""
        return {**super().state(), "window": self._window}

    def restore(self, state: State) -> None:
        """See `Detector.restore`."""
        super().restore(state)
        self._window = state["window"]
