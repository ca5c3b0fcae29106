"""Gaps in time: packets of picture or sound that are not there, found without decoding.

Packets come in the order of decoding, so presentation times are sorted before they are looked at. The other track is
the ruler: picture that ends, or starts, well away from the sound is a gap too.
"""

from __future__ import annotations

from typing import ClassVar

from server_probe.detectors.base import Finding, Mark, SpanDetector, State

GAP_S = 0.2
"""Shorter holes occur in good streams: variable frame rates, priming samples at joints."""
EDGE_S = 1.0
"""At the ends of a clip the tracks may differ by what the muxer interleaves; less than this is not a gap."""
MARKS_MAX = 500_000


class GapsDetector(SpanDetector):
    """Holes of more than 0.2 s in the timestamps of picture or sound."""

    name: ClassVar[str] = "gaps"
    needs: ClassVar[frozenset[str]] = frozenset({"marks"})
    unit: ClassVar[str] = "s missing"
    threshold: ClassVar[float] = GAP_S

    def __init__(self) -> None:
        super().__init__()
        self._spans: dict[str, list[tuple[float, float]]] = {}

    def mark(self, mark: Mark) -> None:
        """Take one packet; beyond 500,000 of a kind (hours of sound) the rest is left out."""
        spans = self._spans.setdefault(mark.kind, [])
        if len(spans) < MARKS_MAX:
            spans.append((mark.at_s, mark.duration_s))

    def finish(self, end_s: float) -> list[Finding]:
        """Close the clip at `end_s` and give the holes, picture before sound, in order of time."""
        bounds = [span for spans in self._spans.values() for span in spans]
        if not bounds:
            return super().finish(end_s)
        first_s = min(at for at, _ in bounds)
        for kind in ("video", "audio"):
            for start_s, stop_s in self._holes(kind, first_s, end_s):
                what = "picture" if kind == "video" else "sound"
                other = self._spans.get("audio" if kind == "video" else "video", [])
                goes_on = any(start_s < at < stop_s for at, _ in other)
                going = ("the sound goes on" if kind == "video" else "the picture goes on") if goes_on else ""
                note = f"{what} missing" + (f" while {going}" if going else "")
                self._add(start_s, stop_s, stop_s - start_s, start_s, note)
        self._findings.sort(key=lambda finding: finding.start_s)
        return super().finish(end_s)

    def _holes(self, kind: str, first_s: float, end_s: float) -> list[tuple[float, float]]:
        spans = sorted(self._spans.get(kind, []))
        if not spans:
            return []
        holes = []
        if spans[0][0] - first_s > EDGE_S:
            holes.append((first_s, spans[0][0]))
        reached_s = spans[0][0]
        for at_s, duration_s in spans:
            if at_s - reached_s > GAP_S:
                holes.append((reached_s, at_s))
            reached_s = max(reached_s, at_s + duration_s)
        if end_s - reached_s > EDGE_S:
            holes.append((reached_s, end_s))
        return holes

    def state(self) -> State:
        """See `Detector.state`."""
        return {**super().state(), "spans": {kind: list(spans) for kind, spans in self._spans.items()}}

    def restore(self, state: State) -> None:
        """See `Detector.restore`."""
        super().restore(state)
        self._spans = {kind: list(spans) for kind, spans in state["spans"].items()}
