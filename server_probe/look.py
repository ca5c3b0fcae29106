"""What is asked of the probe (a look) and what it answers (a verdict): the records that are queued, stored and shown.

All times are epoch seconds where the name ends in `_ts_s`, and seconds of the stream where it ends in `_s`: from the
first segment of a recording, or wall-clock epoch seconds of a live stream that carries EXT-X-PROGRAM-DATE-TIME.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Reason = Literal["flagged", "asked", "sampled"]
Word = Literal["confirmed", "not reproduced", "cannot tell"]
Source = Literal["source", "encoder or packager", "delivery", "client or network", "unknown"]

PRIORITY: dict[Reason, int] = {"asked": 0, "flagged": 1, "sampled": 2}
"""Smaller is claimed first."""


class TimeRange(msgspec.Struct, frozen=True):
    """[start_s, end_s) of the stream."""

    start_s: float
    end_s: float


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a few seconds of one stream; empty tuples leave the choice to the probe.

    `renditions` names what the affected sessions watched (a name such as "270p", "480x270", a bandwidth, or a part of
    the rendition's path), `complaints` the metrics that players reported ("freeze_ms", …), `turn` which window of the
    rotation a sampled look takes.
    """

    id: str
    stream: str
    reason: Reason
    queued_ts_s: float
    incident_id: str = ""
    ranges: tuple[TimeRange, ...] = ()
    renditions: tuple[str, ...] = ()
    cdns: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    turn: int = 0
    attempt: int = 0


class Defect(msgspec.Struct, frozen=True, kw_only=True):
    """One defect: what, when, how bad, where, where it comes from, and the frame that shows it.

    `frame` is the number of the evidence picture of the verdict, −1 if there is none.
    """

    detector: str
    verdict: Word
    what: str
    start_s: float
    end_s: float
    value: float
    threshold: float
    unit: str
    rendition: str
    cdn: str
    source: Source
    frame: int = -1


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one look, under the look's id, so that a look that is taken twice has one verdict.

    `summary` is one sentence for a page, `looked_at` what was fetched or decoded, `left_out` what was not and why,
    `step` the last rung of the ladder that was needed, `sandbox` "on" or why the kernel has no seccomp, and `judged`
    what a person said of it afterwards ("" | "right" | "wrong").
    """

    id: str
    stream: str
    reason: Reason
    incident_id: str
    verdict: Word
    summary: str
    defects: tuple[Defect, ...]
    looked_at: tuple[str, ...]
    left_out: tuple[str, ...]
    step: Literal["none", "bytes", "container", "full decode"]
    cpu_s: float
    bytes: int
    sandbox: str
    made_ts_s: float
    judged: str = ""


class Evidence(msgspec.Struct, frozen=True):
    """A verdict with the PNG pictures that its defects refer to by number."""

    verdict: Verdict
    frames: tuple[bytes, ...] = ()
