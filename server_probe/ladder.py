"""One look, cheap before dear: bytes, then packets, then pictures; it stops where the answer is sure.

1. Bytes: manifests, segments, the same segments from every CDN compared by hash. A CDN whose bytes differ from what two
   others agree on, or that answers with an error where another delivers, is a verdict without decoding.
2. Container: packets of all renditions without decoding. A hole in the picture ends the ladder.
4. Full decode of what is suspected; the siblings only where something was found, for the time of the finding.

Step 3 (keyframes only) and 5 (references aligned by content) of the design are not climbed yet; a sibling serves as the
reference by timestamps, which the manifests align.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from server_probe.bench import Bench
from server_probe.detectors import DEFAULT, REGISTRY, Finding, chosen
from server_probe.evidence import evidence_png
from server_probe.fetch import FetchSession
from server_probe.look import Defect, Evidence, Look, TimeRange, Verdict
from server_probe.manifest import Variant
from server_probe.reading import Edges, Fault, Piece, Reading, odd_ones_out, same_everywhere, windows_turn
from server_probe.registry import Stream
from server_probe.sandbox import SandboxLimits
from server_probe.verdict import STILL_S, Case, Examined, cases, judge, overall, summary_of
from server_probe.wire import Answer, Job, Still
from tocsin.model.errors import InputError

Step = Literal["none", "bytes", "container", "full decode"]
FRAMES_MAX = 4
MANIFEST_SAYS = 200
EDGE_S = 0.5
"""A finding this near to the end of the window may go on beyond it."""


@dataclass(frozen=True)
class LadderLimits:
    """`window_s` of a stream a look takes where it names no time; `seconds_max` of what it names."""

    window_s: float = 10.0
    seconds_max: float = 120.0
    still_s: float = STILL_S
    sandbox: SandboxLimits = field(default_factory=SandboxLimits)


def _nothing() -> bool:
    return True


@dataclass
class Ladder:
    """One climb.

    `keep` is called between steps and says whether the look is still ours. `edges` remembers live playlists from look
    to look. `given` is looked at in place of what the manifests name. `cpu` measures this side, in seconds.
    """

    look: Look
    stream: Stream
    session: FetchSession
    limits: LadderLimits
    keep: Callable[[], bool] = _nothing
    edges: Edges = field(default_factory=dict)
    given: tuple[Piece, ...] = ()
    cpu: Callable[[], float] = time.thread_time

    def __post_init__(self) -> None:
        """Check what was asked for; raises `ConfigError` for an unknown detector."""
        self._detectors = chosen(self.look.detectors or DEFAULT)
        self._reading = Reading(self.session, self.stream)
        self._examined: list[Examined] = []
        self._pieces: dict[tuple[str, str], list[Piece]] = {}
        self._looked_at: list[str] = []
        self._step: Step = "none"

    def climb(self, now_ts_s: float) -> Evidence:
        """All steps that are needed; what goes wrong on the way is in the verdict."""
        began_s = self.cpu()
        with Bench(self.limits.sandbox) as bench:
            defects, frames = self._defects(bench, now_ts_s)
            spent_s = self.cpu() - began_s
        left_out = [*self._reading.left_out, *dict.fromkeys(bench.deaths)]
        complete = bool(self._examined) and not bench.deaths and not self._refused()
        word = overall(defects, complete=complete)
        flagged = self.look.reason == "flagged"
        return Evidence(
            Verdict(
                id=self.look.id,
                stream=self.look.stream,
                reason=self.look.reason,
                incident_id=self.look.incident_id,
                verdict=word,
                summary=summary_of(word, defects, left_out, flagged=flagged),
                defects=tuple(defects),
                looked_at=tuple(self._looked_at),
                left_out=tuple(left_out),
                step=self._step,
                cpu_s=round(spent_s + bench.cpu_s, 4),
                bytes=self.session.bytes_read,
                sandbox=bench.seccomp,
                made_ts_s=now_ts_s,
            ),
            tuple(frames),
        )

    def _refused(self) -> bool:
        """Whether something that was asked for could not be read (a shorter window than the recording is by plan)."""
        return any(not why.startswith("of ") for why in self._reading.left_out) or bool(self._reading.faults)

    def _defects(self, bench: Bench, now_ts_s: float) -> tuple[list[Defect], list[bytes]]:
        suspects, ranges = self._read(now_ts_s)
        defects = self._bytes_defects()
        if any(defect.verdict == "confirmed" for defect in defects):
            return defects, []
        if suspects and self._keeps():
            self._container(bench)
            if not self._examined_findings():
                self._full(bench, suspects)
                self._widen(bench, suspects, ranges)
        found = cases(self._examined)
        frames: list[bytes] = []
        for case in found:
            defect = judge(case, self.look.complaints, self.limits.still_s)
            frame = self._frame(bench, case) if len(frames) < FRAMES_MAX else None
            if frame is not None:
                frames.append(frame)
                defect = _with_frame(defect, len(frames) - 1)
            defects.append(defect)
        return defects, frames

    def _keeps(self) -> bool:
        if self.keep():
            return True
        self._reading.leave_out("the look was taken over by another worker")
        return False

    # Step 1

    def _read(self, now_ts_s: float) -> tuple[list[Variant], list[TimeRange]]:
        """Read the window of the renditions of the first CDN that answers, and of the suspects from the others."""
        for piece in self.given:
            self._pieces[(piece.cdn, piece.variant.name)] = [piece]
            self._looked_at.append(f"{piece.variant.name} from {piece.cdn}")
        if self.given:
            return [piece.variant for piece in self.given], []
        wanted = [cdn for cdn in self.look.cdns if cdn in self.stream.manifests]
        order = wanted + [cdn for cdn in self.stream.manifests if cdn not in wanted]
        for cdn in order:
            variants = self._reading.variants(cdn)
            if variants:
                self._step = "bytes"
                suspects, ranges = self._suspects(cdn, variants)
                for variant in variants:
                    self._take(cdn, variant, ranges)
                    playlist = self._reading.playlist(cdn, variant)
                    if playlist is not None:
                        self._reading.note_edge(playlist, cdn, variant, self.edges, now_ts_s)
                for other in order:
                    if other != cdn and self.look.reason != "sampled":
                        self._compare(other, suspects, ranges)
                return suspects, ranges
        return [], []

    def _suspects(self, cdn: str, variants: list[Variant]) -> tuple[list[Variant], list[TimeRange]]:
        """Which renditions to decode whole, and when: those the players watched, or one in rotation."""
        limits = self.limits
        named = [one for one in variants if any(one.is_called(name) for name in self.look.renditions)]
        first = named or variants[-1:]
        ranges = self._reading.window(self.look, limits.window_s, limits.seconds_max, cdn, first[0])
        if named:
            return named, ranges
        if self.look.reason != "sampled":
            return list(variants), ranges
        playlist = self._reading.playlist(cdn, first[0])
        total_s = playlist.end_s if playlist is not None and not playlist.live else limits.window_s
        rounds = windows_turn(self.look.turn, total_s, limits.window_s)[1]
        return [list(reversed(variants))[rounds % len(variants)]], ranges

    def _take(self, cdn: str, variant: Variant, ranges: Sequence[TimeRange]) -> None:
        pieces = self._reading.pieces(cdn, variant, ranges)
        self._pieces[(cdn, variant.name)] = pieces
        for piece in pieces:
            self._looked_at.append(f"{variant.name} from {cdn}, {piece.start_s:.0f} to {piece.end_s:.0f} s")

    def _compare(self, cdn: str, suspects: Sequence[Variant], ranges: Sequence[TimeRange]) -> None:
        names = {variant.name for variant in suspects}
        for variant in self._reading.variants(cdn):
            if variant.name in names:
                self._take(cdn, variant, ranges)

    def _bytes_defects(self) -> list[Defect]:
        delivered = {(cdn, name) for (cdn, name), pieces in self._pieces.items() if pieces}
        defects = [_fault_defect(fault, delivered) for fault in _without_repeats(self._reading.faults)]
        for cdn, rendition, sequence in odd_ones_out(self._reading.digests):
            what = f"segment {sequence} of {rendition} from {cdn} has other bytes than from the other CDNs"
            at = self._when(cdn, rendition, sequence)
            defects.append(_bytes_defect(what, at, cdn, rendition))
        return defects

    def _when(self, cdn: str, rendition: str, sequence: int) -> tuple[float, float]:
        for piece in self._pieces.get((cdn, rendition), []):
            for segment in piece.segments:
                if segment.sequence == sequence:
                    return segment.start_s, segment.end_s
        return 0.0, 0.0

    # Steps 2 and 4

    def _container(self, bench: Bench) -> None:
        """Look for holes in the packets of everything that was read; the same bytes are looked at once."""
        if "gaps" not in self._detectors:
            return
        self._step = "container"
        for piece in self._distinct_pieces():
            if not self._keeps():
                return
            self._inspect(bench, piece, ("gaps",))

    def _distinct_pieces(self) -> list[Piece]:
        """All pieces, without those of other CDNs that have the same bytes."""
        distinct: list[Piece] = []
        for pieces in self._pieces.values():
            for piece in pieces:
                sequences = [segment.sequence for segment in piece.segments]
                known = any(
                    other.variant.name == piece.variant.name
                    and [segment.sequence for segment in other.segments] == sequences
                    and same_everywhere(self._reading.digests, piece.variant.name, sequences)
                    for other in distinct
                )
                if not known:
                    distinct.append(piece)
        return distinct

    def _examined_findings(self) -> list[Finding]:
        return [finding for one in self._examined for finding in one.findings]

    def _full(self, bench: Bench, suspects: Sequence[Variant]) -> None:
        """Decode the suspects; where something is found, the others for that time."""
        detectors = tuple(name for name in self._detectors if name != "gaps")
        if not detectors:
            return
        self._step = "full decode"
        names = {variant.name for variant in suspects}
        pieces = self._distinct_pieces()
        before = len(self._examined)
        for piece in pieces:
            if piece.variant.name in names and self._keeps():
                self._inspect(bench, piece, detectors)
        findings = [finding for one in self._examined[before:] for finding in one.findings]
        for piece in pieces:
            if piece.variant.name not in names:
                self._second_opinion(bench, piece, findings)

    def _second_opinion(self, bench: Bench, piece: Piece, findings: Sequence[Finding]) -> None:
        near = [one for one in findings if one.start_s < piece.end_s and one.end_s > piece.start_s]
        if near and self._keeps():
            part = piece.around(min(one.start_s for one in near), max(one.end_s for one in near))
            self._inspect(bench, part, tuple(dict.fromkeys(one.detector for one in near)))

    def _widen(self, bench: Bench, suspects: Sequence[Variant], ranges: Sequence[TimeRange]) -> None:
        """A sampled window may cut a finding: look once more, wider, if one touches the window's edge."""
        if self.look.reason != "sampled" or len(ranges) != 1:
            return
        window, more_s = ranges[0], 1.5 * self.limits.still_s
        findings = self._examined_findings()
        at_start = any(one.start_s - window.start_s < EDGE_S for one in findings) and window.start_s > 0
        at_end = any(window.end_s - one.end_s < EDGE_S for one in findings)
        if not (at_start or at_end):
            return
        wider = TimeRange(
            max(0.0, window.start_s - more_s) if at_start else window.start_s,
            window.end_s + more_s if at_end else window.end_s,
        )
        self._examined.clear()
        for cdn, name in list(self._pieces):
            for variant in self._reading.variants(cdn):
                if variant.name == name:
                    self._take(cdn, variant, [wider])
        self._full(bench, suspects)

    def _inspect(self, bench: Bench, piece: Piece, detectors: tuple[str, ...]) -> None:
        """Have one piece looked at, and keep what was covered and found."""
        extra = ("silence",) if "freeze" in detectors and "silence" not in detectors else ()
        job = Job(piece.container, piece.start_s, detectors + extra, piece.joints)
        answer = self._ask(bench, job, piece)
        if answer is None:
            return
        findings = tuple(one for one in answer.findings if one.detector in detectors)
        if detectors == ("gaps",):
            findings += _no_picture(piece, answer)
        self._examined.append(
            Examined(
                piece.variant.name,
                piece.cdn,
                piece.start_s,
                min(piece.end_s, max(answer.facts.video_end_s, answer.facts.audio_end_s, piece.start_s)),
                frozenset(detectors),
                findings,
                answer.facts.sound_level > 0,
                tuple(one for one in answer.findings if one.detector == "silence"),
                answer.facts.motion if answer.facts.pictures else 1.0,
            )
        )

    def _ask(self, bench: Bench, job: Job, piece: Piece) -> Answer | None:
        """Ask the child; what it could not do is left out, and said."""
        place = f"{piece.variant.name} from {piece.cdn}"
        try:
            answer = bench.ask(job, piece.data)
        except InputError as error:
            self._reading.leave_out(f"{place}: {error}")
            return None
        if answer is None:
            self._reading.leave_out(f"{place}: not decoded, the decoding child died")
        elif answer.error:
            self._reading.leave_out(f"{place}: {answer.error}")
        return answer

    # Evidence

    def _frame(self, bench: Bench, case: Case) -> bytes | None:
        """The evidence picture of one case, or None if no picture could be had."""
        finding = case.finding
        moment_s = finding.worst_s if finding.detector == "corruption" else (finding.start_s + finding.end_s) / 2
        bad = self._still(bench, case.at, moment_s)
        if bad is None:
            return None
        beside = next((still for one in case.clean if (still := self._still(bench, one, moment_s))), None)
        healthy = beside is not None
        if beside is None:
            beside = self._still(bench, case.at, finding.end_s - 0.1)
        return evidence_png(
            bad,
            beside,
            beside_is_healthy=healthy,
            mark_blocks=finding.detector == "corruption",
            window=(min(one.start_s for one in self._examined), max(one.end_s for one in self._examined)),
            defect=(finding.start_s, finding.end_s),
        )

    def _still(self, bench: Bench, examined: Examined, at_s: float) -> Still | None:
        for piece in self._pieces.get((examined.cdn, examined.rendition), []):
            if piece.start_s <= at_s < piece.end_s + EDGE_S:
                part = piece.around(at_s, at_s)
                answer = self._ask(bench, Job(part.container, part.start_s, (), (), (at_s,)), part)
                if answer is not None and answer.stills:
                    return answer.stills[0]
        return None


def _no_picture(piece: Piece, answer: Answer) -> tuple[Finding, ...]:
    """A rendition that declares picture and brings only sound is one long hole, which timestamps cannot show."""
    facts = answer.facts
    if not piece.variant.declares_picture or facts.video_end_s >= 0 or facts.audio_end_s < 0:
        return ()
    length_s = piece.end_s - piece.start_s
    threshold = getattr(REGISTRY["gaps"], "threshold", 0.0)
    note = "picture missing while the sound goes on"
    return (Finding("gaps", piece.start_s, piece.end_s, length_s, threshold, "s missing", piece.start_s, note),)


def _with_frame(defect: Defect, number: int) -> Defect:
    fields = {name: getattr(defect, name) for name in defect.__struct_fields__}
    return Defect(**{**fields, "frame": number})


def _without_repeats(faults: Sequence[Fault]) -> list[Fault]:
    """The first fault of each CDN and rendition."""
    return list({(fault.cdn, fault.rendition): fault for fault in reversed(faults)}.values())[::-1]


def _fault_defect(fault: Fault, delivered: set[tuple[str, str]]) -> Defect:
    """An answer with an error is sure; silence may be ours, unless another CDN delivered the same."""
    said_so = fault.status == MANIFEST_SAYS
    others = {cdn for cdn, name in delivered if fault.rendition in ("all", name) and cdn != fault.cdn}
    sure = fault.status > 0 or bool(others)
    return Defect(
        detector="gaps" if said_so else "delivery",
        verdict="confirmed" if sure else "cannot tell",
        what=f"{fault.rendition} from {fault.cdn}: {fault.what}",
        start_s=fault.start_s,
        end_s=fault.end_s,
        value=float(fault.status),
        threshold=400.0,
        unit="HTTP status",
        rendition=fault.rendition,
        cdn=fault.cdn,
        source="encoder or packager" if said_so else "delivery" if others else "unknown",
    )


def _bytes_defect(what: str, at: tuple[float, float], cdn: str, rendition: str) -> Defect:
    return Defect(
        detector="bytes",
        verdict="confirmed",
        what=what,
        start_s=at[0],
        end_s=at[1],
        value=1.0,
        threshold=1.0,
        unit="segments that differ",
        rendition=rendition,
        cdn=cdn,
        source="delivery",
    )
