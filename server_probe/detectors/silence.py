"""Silence: ffmpeg's silencedetect at −50 dB and 0.5 s, on windows of 20 ms."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from server_probe.detectors.base import Sound, SpanDetector

LEVEL = 10 ** (-50 / 20)
WINDOW_S = 0.02


class SilenceDetector(SpanDetector):
    """Spans in which no sample of any channel exceeds −50 dB of full scale."""

    name: ClassVar[str] = "silence"
    needs: ClassVar[frozenset[str]] = frozenset({"sound"})
    may_be_meant: ClassVar[bool] = True
    unit: ClassVar[str] = "peak, share of full scale"
    threshold: ClassVar[float] = LEVEL
    length_s_min: ClassVar[float] = 0.5

    def sound(self, sound: Sound) -> None:
        """Take one block."""
        step = max(1, int(sound.rate_hz * WINDOW_S))
        loud = np.abs(sound.samples).max(axis=1)
        for first in range(0, len(loud), step):
            peak = float(loud[first : first + step].max())
            at_s = sound.at_s + first / sound.rate_hz
            if peak <= LEVEL:
                worst = self._worst()
                self._on(at_s, peak, worse=worst is None or peak > worst)
            else:
                self._off(at_s)
