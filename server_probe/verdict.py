"""Findings of several renditions and CDNs → defects with a word, a cause, and an honest sentence. Pure.

Where it comes from: in every rendition, the source; in one, the encoder or packager; from one CDN only, the delivery;
nowhere while players suffer, the client or the network.

Some signals occur in good content: a still shot and a title card look like a freeze. Without a reference such a finding
is "cannot tell", with three exceptions: a sibling that plainly moves at the same time is a reference; players
complained of just this; or, for a picture, it stands still for long while the sound goes on (`still_s`). The last is
confirmed as what it is, and its sentence says that it may be meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server_probe.detectors import REGISTRY, Finding
from server_probe.look import Defect, Source, Word

COMPLAINTS: dict[str, frozenset[str]] = {"freeze": frozenset({"freeze_ms"})}
"""Metrics by which players say that they saw what a detector finds."""
SILENT_SHARE_MAX = 0.2
"""Sound counts as going on where at most this share of the time is silent."""
MOTION_MIN = 0.0126
"""−38 dB. A sibling is a reference for a freeze only if it moves by more: a talking head may be below −50 dB in a small
rendition and not in a large one."""
STILL_S = 8.0
COVERED_SHARE = 0.9


@dataclass(frozen=True)
class Examined:
    """What one pass over one rendition from one CDN covered and found. `silences` serves the judgement of freezes."""

    rendition: str
    cdn: str
    start_s: float
    end_s: float
    detectors: frozenset[str]
    findings: tuple[Finding, ...]
    has_sound: bool = False
    silences: tuple[Finding, ...] = ()
    motion: float = 1.0
    """Mean difference between pictures in sequence, share of full scale; what was not measured counts as moving."""


@dataclass(frozen=True)
class Case:
    """One defect-to-be: the longest of the findings that overlap, and where else it was and was not."""

    finding: Finding
    at: Examined
    affected: tuple[Examined, ...]
    clean: tuple[Examined, ...]


def _overlap_s(start_s: float, end_s: float, other_start_s: float, other_end_s: float) -> float:
    return max(0.0, min(end_s, other_end_s) - max(start_s, other_start_s))


def _same(one: Finding, other: Finding) -> bool:
    shorter_s = max(1e-9, min(one.length_s, other.length_s))
    overlap_s = _overlap_s(one.start_s, one.end_s, other.start_s, other.end_s)
    return one.detector == other.detector and overlap_s >= 0.5 * shorter_s


def cases(examined: Sequence[Examined]) -> list[Case]:
    """Findings put together that are one defect, in order of time; a pass is affected, clean, or did not cover it."""
    loose = [(finding, pass_) for pass_ in examined for finding in pass_.findings]
    loose.sort(key=lambda pair: -pair[0].length_s)
    found: list[Case] = []
    taken: list[Finding] = []
    for finding, pass_ in loose:
        if any(_same(finding, other) for other in taken):
            continue
        taken.append(finding)
        affected = [one for one in examined if any(_same(finding, other) for other in one.findings)]
        clean = [
            one
            for one in examined
            if one not in affected
            and finding.detector in one.detectors
            and not any((one.rendition, one.cdn) == (other.rendition, other.cdn) for other in affected)
            and _covers(one, finding)
            and (finding.detector != "freeze" or one.motion > MOTION_MIN)
        ]
        found.append(Case(finding, pass_, tuple(affected), tuple(clean)))
    return sorted(_without_echoes(found), key=lambda case: case.finding.start_s)


def _covers(pass_: Examined, finding: Finding) -> bool:
    overlap_s = _overlap_s(finding.start_s, finding.end_s, pass_.start_s, pass_.end_s)
    return overlap_s >= COVERED_SHARE * finding.length_s


def _without_echoes(found: list[Case]) -> list[Case]:
    """A hole in the packets is also a jump for the decoder: it is told once, as the hole."""
    holes = [case.finding for case in found if case.finding.detector == "gaps"]
    return [
        case
        for case in found
        if case.finding.detector != "corruption"
        or not any(
            _overlap_s(hole.start_s - 0.1, hole.end_s + 0.1, case.finding.start_s, case.finding.end_s)
            >= COVERED_SHARE * case.finding.length_s
            for hole in holes
        )
    ]


def source_of(case: Case) -> Source:
    """Where a defect comes from, as far as what was examined can tell."""
    renditions = {one.rendition for one in case.affected}
    cdns = {one.cdn for one in case.affected}
    if any(one.rendition in renditions and one.cdn not in cdns for one in case.clean):
        return "delivery"
    if any(one.rendition not in renditions for one in case.clean):
        return "encoder or packager"
    if len(renditions) > 1:
        return "source"
    return "unknown"


def sound_goes_on(case: Case) -> bool:
    """Whether sound was heard through the defect, in the rendition that shows it."""
    finding, at = case.finding, case.at
    if not at.has_sound:
        return False
    silent_s = sum(_overlap_s(finding.start_s, finding.end_s, one.start_s, one.end_s) for one in at.silences)
    return silent_s <= SILENT_SHARE_MAX * finding.length_s


def _span(finding: Finding) -> str:
    return f"for {finding.length_s:.1f} s ({finding.start_s:.1f} to {finding.end_s:.1f} s)"


def _where(case: Case, source: Source) -> str:
    renditions = sorted({one.rendition for one in case.affected})
    clean = sorted({one.rendition for one in case.clean} - set(renditions))
    if source == "source":
        return f"in all {len(renditions)} renditions that were looked at ({', '.join(renditions)})"
    if source == "delivery":
        good = sorted({one.cdn for one in case.clean})
        return f"in {', '.join(renditions)} from {case.at.cdn}; whole from {', '.join(good)}"
    if source == "encoder or packager":
        return f"in {', '.join(renditions)}; {', '.join(clean)} {'is' if len(clean) == 1 else 'are'} whole"
    return f"in {', '.join(renditions)}; nothing to compare it with"


def judge(case: Case, complaints: Iterable[str], still_s: float = STILL_S) -> Defect:
    """The defect, its word and its sentence."""
    finding = case.finding
    source = source_of(case)
    word, what = _word_and_what(case, frozenset(complaints), still_s)
    renditions = sorted({one.rendition for one in case.affected})
    cdns = sorted({one.cdn for one in case.affected})
    return Defect(
        detector=finding.detector,
        verdict=word,
        what=f"{what} {_where(case, source)}",
        start_s=round(finding.start_s, 3),
        end_s=round(finding.end_s, 3),
        value=finding.value,
        threshold=finding.threshold,
        unit=finding.unit,
        rendition="all" if source == "source" else ", ".join(renditions),
        cdn=", ".join(cdns),
        source=source,
    )


def _word_and_what(case: Case, complaints: frozenset[str], still_s: float) -> tuple[Word, str]:
    finding = case.finding
    span = _span(finding)
    name = finding.detector
    if name == "freeze":
        return _freeze(case, complaints, still_s)
    if not REGISTRY[name].may_be_meant:
        what = finding.note or {"corruption": "damaged pictures"}.get(name, name)
        return "confirmed", f"{what} {span}"
    if case.clean:
        return "confirmed", f"{name} {span}"
    return "cannot tell", f"{name} {span}, which may be meant,"


def _freeze(case: Case, complaints: frozenset[str], still_s: float) -> tuple[Word, str]:
    finding = case.finding
    span = _span(finding)
    if case.clean:
        return "confirmed", f"picture frozen {span} while another moves,"
    if complaints & COMPLAINTS["freeze"]:
        return "confirmed", f"picture stands still {span} where players reported a frozen picture,"
    if finding.length_s >= still_s and sound_goes_on(case):
        return (
            "confirmed",
            f"picture stands still {span} while the sound goes on (a title card or still shot looks the same)",
        )
    return "cannot tell", f"still picture {span}, too little to tell it from a still shot,"


def overall(defects: Sequence[Defect], *, complete: bool) -> Word:
    """The look's word: confirmed by one defect; not reproduced only where everything asked for was looked at."""
    if any(defect.verdict == "confirmed" for defect in defects):
        return "confirmed"
    if defects or not complete:
        return "cannot tell"
    return "not reproduced"


def summary_of(word: Word, defects: Sequence[Defect], left_out: Sequence[str], *, flagged: bool) -> str:
    """One sentence for a page."""
    told = [defect for defect in defects if defect.verdict == word] or list(defects)
    if told:
        worst = max(told, key=lambda defect: defect.end_s - defect.start_s)
        others = len(defects) - 1
        more = f" and {others} more" if others else ""
        cause = "" if worst.source == "unknown" else f": {worst.source}"
        return f"{worst.what}{cause}{more}"
    if word == "cannot tell":
        return f"could not be looked at: {left_out[0]}" if left_out else "nothing could be looked at"
    if flagged:
        return "nothing wrong in what was looked at, while players suffer: client or network"
    return "nothing wrong in what was looked at"
