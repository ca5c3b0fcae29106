"""Frozen picture: ffmpeg's freezedetect at −50 dB and 0.5 s, not inside black.

The mean absolute difference over all planes is taken against the *first* picture of the still span, not against the
picture before: a slow fade thus does not add up to a freeze (source: libavfilter/vf_freezedetect.c). A still shot and a
title card look the same as a fault: without a reference the verdict says "still picture".

One addition to ffmpeg's: an encoder draws a still again with each keyframe, at low bitrates by more than −50 dB. A step
of less than −38 dB after at least 0.5 s of stillness does not end the span; the still is compared with the redrawn one.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from server_probe.detectors.base import Picture, Plane, SpanDetector, State
from server_probe.detectors.black import RATIO_BLACK, black_ratio

NOISE = 10 ** (-50 / 20)
"""−50 dB of full scale: 0.81 of 256 grey levels."""
REDRAWN = 4 * NOISE
"""−38 dB: what a keyframe may change in a still."""
PASSES = 16


def _difference(one: Plane, other: Plane) -> int:
    """Sum of absolute differences; stays in 8 bits until the sum, which is four times as fast as widening first."""
    return int((np.maximum(one, other) - np.minimum(one, other)).sum(dtype=np.uint64))


def difference_up_to(limit: float, reference: tuple[Plane, ...], planes: tuple[Plane, ...]) -> float:
    """Mean absolute difference of two pictures over all planes, share of full scale; 1.0 if it exceeds `limit`.

    The sum only grows, so rows are taken in 16 interleaved passes and the rest is left once the limit is passed: a
    moving picture is told by a few of them.
    """
    if any(one.shape != other.shape for one, other in zip(reference, planes, strict=True)):
        return 1.0
    samples = sum(plane.size for plane in planes) * 256
    total = 0
    for first in range(PASSES):
        for one, other in zip(reference, planes, strict=True):
            total += _difference(one[first::PASSES], other[first::PASSES])
        if total > limit * samples:
            return 1.0
    return total / samples


class FreezeDetector(SpanDetector):
    """Spans in which no picture differs from the span's first by more than −50 dB."""

    name: ClassVar[str] = "freeze"
    needs: ClassVar[frozenset[str]] = frozenset({"pictures"})
    may_be_meant: ClassVar[bool] = True
    unit: ClassVar[str] = "mean difference, share of full scale"
    threshold: ClassVar[float] = NOISE
    length_s_min: ClassVar[float] = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._reference: tuple[Plane, ...] | None = None
        self._reference_s = 0.0
        self._redrawn_s: float | None = None

    def picture(self, picture: Picture) -> None:
        """Take one picture."""
        reference = self._reference
        if reference is not None and len(reference) == len(picture.planes):
            limit = NOISE if self._open is None else REDRAWN
            difference = difference_up_to(limit, reference, picture.planes)
            if difference <= NOISE and black_ratio(picture) < RATIO_BLACK:
                worst = self._worst()
                self._on(self._reference_s, difference, worse=worst is None or difference > worst)
                self._redrawn_s = None
                return
            stood_s = picture.at_s - self._reference_s
            if self._open is not None and difference <= REDRAWN and stood_s >= self.length_s_min:
                self._redrawn_s = picture.at_s
                self._refer_to(picture)
                return
        self._off(picture.at_s if self._redrawn_s is None else self._redrawn_s)
        self._redrawn_s = None
        self._refer_to(picture)

    def _refer_to(self, picture: Picture) -> None:
        self._reference = picture.planes
        self._reference_s = picture.at_s

    def state(self) -> State:
        """See `Detector.state`."""
        return {**super().state(), "reference": self._reference, "at_s": [self._reference_s, self._redrawn_s]}

    def restore(self, state: State) -> None:
        """See `Detector.restore`."""
        super().restore(state)
        self._reference = state["reference"]
        self._reference_s, self._redrawn_s = state["at_s"]
