"""What a detector is: pictures, sound and packet marks of one clip in, findings out, in the order of time.

Laws, which the conformance suite asserts for every registered detector:

* `finish` closes what is still open (ffmpeg's filters leave an event open at the end of a clip; ours do not).
* Restoring `state()` into a new detector in the middle of a clip gives the same findings as one that saw all of it.
* Findings lie inside the clip, start before they end, and come in order.
* A clean, moving, sounding clip gives none.

A detector is pure: no clock, no decoder, no file. Times are seconds of the stream, as the ladder mapped them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
State = dict[str, Any]

FINDINGS_MAX = 64
"""Findings one detector keeps of one clip; what comes after is counted in the last one's `note`."""


class Picture(msgspec.Struct, frozen=True):
    """One decoded picture: luma first, then chroma, 8 bits, limited range unless `full_range`."""

    at_s: float
    duration_s: float
    planes: tuple[Plane, ...]
    is_corrupt: bool = False
    full_range: bool = False

    @property
    def luma(self) -> Plane:
        """Height × width."""
        return self.planes[0]


class Sound(msgspec.Struct, frozen=True):
    """One block of decoded sound: samples × channels, float32, full scale 1.0."""

    at_s: float
    samples: npt.NDArray[np.float32]
    rate_hz: int

    @property
    def end_s(self) -> float:
        """When the block ends."""
        return self.at_s + len(self.samples) / self.rate_hz


class Mark(msgspec.Struct, frozen=True):
    """One packet, not decoded, in the order of the file. `kind` is "video" or "audio"."""

    kind: str
    at_s: float
    duration_s: float
    is_key: bool = False
    is_corrupt: bool = False


class Finding(msgspec.Struct, frozen=True):
    """One defect in one clip: when, how bad (`value` in `unit` against `threshold`), and what more there is to say."""

    detector: str
    start_s: float
    end_s: float
    value: float
    threshold: float
    unit: str
    worst_s: float
    note: str = ""

    @property
    def length_s(self) -> float:
        """How long it lasts."""
        return self.end_s - self.start_s


class Detector(Protocol):
    """See the module's laws. `name` is unique; the three class variables say what the ladder must feed it."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    """Of "marks", "pictures", "sound"."""
    may_be_meant: ClassVar[bool]
    """True where the same signal occurs in good content (a title card, a pause): then only a reference, or a complaint
    by players, makes it a defect."""

    def mark(self, mark: Mark) -> None:
        """Take one packet."""

    def picture(self, picture: Picture) -> None:
        """Take one picture."""

    def sound(self, sound: Sound) -> None:
        """Take one block of sound."""

    def finish(self, end_s: float) -> list[Finding]:
        """Close what is open at `end_s`, the end of the clip, and give all findings."""

    def state(self) -> State:
        """What `restore` needs: plain values and arrays."""

    def restore(self, state: State) -> None:
        """Continue from `state`."""


class SpanDetector:
    """Base of the detectors that watch one condition: holds the open span, its worst moment and the findings."""

    name: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()
    may_be_meant: ClassVar[bool] = False
    unit: ClassVar[str] = ""
    threshold: ClassVar[float] = 0.0
    length_s_min: ClassVar[float] = 0.0

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._open: tuple[float, float, float] | None = None
        self._dropped = 0

    def mark(self, mark: Mark) -> None:
        """Ignored unless the detector overrides it."""

    def picture(self, picture: Picture) -> None:
        """Ignored unless the detector overrides it."""

    def sound(self, sound: Sound) -> None:
        """Ignored unless the detector overrides it."""

    def _on(self, at_s: float, value: float, *, worse: bool) -> None:
        """The condition holds at `at_s`; `worse` says whether `value` is the worst of the open span so far."""
        if self._open is None:
            self._open = (at_s, value, at_s)
        elif worse:
            self._open = (self._open[0], value, at_s)

    def _worst(self) -> float | None:
        return None if self._open is None else self._open[1]

    def _off(self, at_s: float) -> None:
        """The condition no longer holds at `at_s`: the span becomes a finding if it is long enough."""
        if self._open is None:
            return
        start_s, value, worst_s = self._open
        self._open = None
        if at_s - start_s >= self.length_s_min:
            self._add(start_s, at_s, value, worst_s)

    def _add(self, start_s: float, end_s: float, value: float, worst_s: float, note: str = "") -> None:
        if len(self._findings) >= FINDINGS_MAX:
            self._dropped += 1
            return
        finding = Finding(self.name, start_s, end_s, value, self.threshold, self.unit, worst_s, note)
        self._findings.append(finding)

    def finish(self, end_s: float) -> list[Finding]:
        """See `Detector.finish`."""
        self._off(end_s)
        if self._dropped:
            last = self._findings[-1]
            self._findings[-1] = msgspec.structs.replace(last, note=f"and {self._dropped} more")
        return list(self._findings)

    def state(self) -> State:
        """See `Detector.state`."""
        return {"findings": list(self._findings), "open": self._open, "dropped": self._dropped}

    def restore(self, state: State) -> None:
        """See `Detector.restore`."""
        self._findings = list(state["findings"])
        self._open = state["open"]
        self._dropped = state["dropped"]
