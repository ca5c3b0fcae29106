"""Black picture: ffmpeg's blackdetect (ratio 0.98, pixel 0.10); its minimum length is applied here, 0.5 s."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from server_probe.detectors.base import Picture, SpanDetector

PIXEL_BLACK = 0.10
RATIO_BLACK = 0.98


def black_ratio(picture: Picture) -> float:
    """Share of luma samples at or below black, 0 to 1 (source: libavfilter/vf_blackdetect.c)."""
    level = 255 * PIXEL_BLACK if picture.full_range else 16 + 219 * PIXEL_BLACK
    return float(np.count_nonzero(picture.luma <= int(level)) / picture.luma.size)


class BlackDetector(SpanDetector):
    """Spans of black picture."""

    name: ClassVar[str] = "black"
    needs: ClassVar[frozenset[str]] = frozenset({"pictures"})
    may_be_meant: ClassVar[bool] = True
    unit: ClassVar[str] = "share of the picture"
    threshold: ClassVar[float] = RATIO_BLACK
    length_s_min: ClassVar[float] = 0.5

    def picture(self, picture: Picture) -> None:
        """Take one picture."""
        ratio = black_ratio(picture)
        if ratio >= RATIO_BLACK:
            worst = self._worst()
            self._on(picture.at_s, ratio, worse=worst is None or ratio > worst)
        else:
            self._off(picture.at_s)
