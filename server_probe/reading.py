"""The first rung: what is fetched for a look, and what the bytes alone say.

A look is read through one `Reading`: manifests once, each segment once. What an allowed origin fails to deliver is a
fault of that CDN; what the gate or a cap refuses is left out, and said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from server_probe.fetch import FetchSession, OriginError, RefusedError
from server_probe.look import Look, TimeRange
from server_probe.manifest import ManifestError, Playlist, Segment, Variant, container_of, parse_master, parse_media
from server_probe.registry import Stream

EDGE_STUCK_TARGETS = 3.0
"""A live playlist that has not moved for this many target durations is stuck (RFC 8216bis asks for 1.5)."""


@dataclass(frozen=True)
class Piece:
    """Segments in sequence of one rendition from one CDN, read whole, with comparable timestamps."""

    variant: Variant
    cdn: str
    segments: tuple[Segment, ...]
    bodies: tuple[bytes, ...]
    container: str

    @property
    def start_s(self) -> float:
        """When it starts."""
        return self.segments[0].start_s

    @property
    def end_s(self) -> float:
        """When it ends, by its manifest."""
        return self.segments[-1].end_s

    @property
    def data(self) -> bytes:
        """What is decoded."""
        return b"".join(self.bodies)

    @property
    def joints(self) -> tuple[int, ...]:
        """Byte offsets at which segments meet."""
        ends, at = [], 0
        for body in self.bodies[:-1]:
            at += len(body)
            ends.append(at)
        return tuple(ends)

    def around(self, start_s: float, end_s: float) -> Piece:
        """The part of it that touches [start_s, end_s), with the segment before, so that decoding starts well."""
        touching = [i for i, one in enumerate(self.segments) if one.end_s > start_s and one.start_s < end_s]
        if not touching:
            return self
        first, last = max(0, touching[0] - 1), touching[-1] + 1
        bodies = self.bodies[first:last]
        if self.segments[first].init_url and first > 0 and self.container == "mp4":
            return self
        return Piece(self.variant, self.cdn, self.segments[first:last], bodies, self.container)


Edges = dict[str, tuple[int, float]]
"""Playlist URL → its last media sequence and the epoch second at which that was first seen."""


@dataclass(frozen=True)
class Fault:
    """What one CDN failed to deliver; `status` is HTTP's, 0 where no answer came, 200 where the manifest says so."""

    cdn: str
    rendition: str
    start_s: float
    end_s: float
    status: int
    what: str


@dataclass
class Reading:
    """Everything one look has read so far."""

    session: FetchSession
    stream: Stream
    faults: list[Fault] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    digests: dict[tuple[str, str, int], bytes] = field(default_factory=dict)
    """(cdn, rendition, media sequence) → digest of the segment's bytes."""
    _variants: dict[str, list[Variant]] = field(default_factory=dict)
    _playlists: dict[tuple[str, str], Playlist | None] = field(default_factory=dict)
    _bodies: dict[tuple[str, tuple[int, int] | None], bytes | None] = field(default_factory=dict)

    def leave_out(self, why: str) -> None:
        """Say once that something was not looked at."""
        if why not in self.left_out:
            self.left_out.append(why)

    def variants(self, cdn: str) -> list[Variant]:
        """The renditions that a CDN's manifest offers; empty if it cannot be read."""
        if cdn not in self._variants:
            self._variants[cdn] = self._read_variants(cdn)
        return self._variants[cdn]

    def _read_variants(self, cdn: str) -> list[Variant]:
        url = self.stream.manifests[cdn]
        try:
            fetched = self.session.manifest(url)
            return parse_master(fetched.body, fetched.url)
        except OriginError as error:
            self.faults.append(Fault(cdn, "all", 0.0, 0.0, error.status, str(error)))
        except (RefusedError, ManifestError) as error:
            self.leave_out(str(error))
        return []

    def playlist(self, cdn: str, variant: Variant) -> Playlist | None:
        """The segments of one rendition; None if they cannot be read."""
        key = (cdn, variant.name)
        if key not in self._playlists:
            self._playlists[key] = self._read_playlist(cdn, variant)
        return self._playlists[key]

    def _read_playlist(self, cdn: str, variant: Variant) -> Playlist | None:
        try:
            fetched = self.session.manifest(variant.url)
            return parse_media(fetched.body, fetched.url)
        except OriginError as error:
            self.faults.append(Fault(cdn, variant.name, 0.0, 0.0, error.status, str(error)))
        except (RefusedError, ManifestError) as error:
            self.leave_out(str(error))
        return None

    def note_edge(self, playlist: Playlist, cdn: str, variant: Variant, edges: Edges, now_ts_s: float) -> None:
        """Compare the end of a live playlist with what an earlier look saw; one that stands is a fault."""
        if not playlist.live or not playlist.segments:
            return
        sequence = playlist.segments[-1].sequence
        seen_sequence, since_ts_s = edges.get(playlist.url, (sequence - 1, now_ts_s))
        if seen_sequence != sequence:
            edges[playlist.url] = (sequence, now_ts_s)
        elif now_ts_s - since_ts_s >= EDGE_STUCK_TARGETS * max(1.0, playlist.target_s):
            what = f"live playlist has not moved for {now_ts_s - since_ts_s:.0f} s"
            self.faults.append(Fault(cdn, variant.name, playlist.end_s, playlist.end_s, 200, what))

    def pieces(self, cdn: str, variant: Variant, ranges: Iterable[TimeRange]) -> list[Piece]:
        """What could be read of the ranges, cut where timestamps jump by declaration or a segment is missing."""
        playlist = self.playlist(cdn, variant)
        if playlist is None:
            return []
        wanted = {one.sequence: one for part in ranges for one in playlist.between(part.start_s, part.end_s)}
        pieces: list[Piece] = []
        run: list[tuple[Segment, bytes]] = []
        for sequence in sorted(wanted):
            segment = wanted[sequence]
            body = self._body(cdn, variant, segment)
            last = run[-1][0] if run else None
            broken = last is not None and (last.sequence + 1 != sequence or last.group != segment.group)
            if run and (broken or body is None):
                pieces += self._piece(cdn, variant, run)
                run = []
            if body is not None:
                run.append((segment, body))
        return pieces + (self._piece(cdn, variant, run) if run else [])

    def _piece(self, cdn: str, variant: Variant, run: list[tuple[Segment, bytes]]) -> list[Piece]:
        segments = tuple(segment for segment, _ in run)
        bodies = [body for _, body in run]
        init = self._init(segments[0])
        if init is None:
            return []
        container = container_of(init + bodies[0][:2_000])
        if not container:
            self.leave_out(f"{variant.name} from {cdn}: the segments are in no container that the probe decodes")
            return []
        bodies[0] = init + bodies[0]
        return [Piece(variant, cdn, segments, tuple(bodies), container)]

    def _init(self, segment: Segment) -> bytes | None:
        """The initialisation section; b"" where none is needed, None where it cannot be read."""
        if not segment.init_url:
            return b""
        try:
            return self._cached(segment.init_url, segment.init_range)
        except (OriginError, RefusedError) as error:
            self.leave_out(str(error))
            return None

    def _cached(self, url: str, byterange: tuple[int, int] | None) -> bytes:
        key = (url, byterange)
        body = self._bodies.get(key)
        if body is None:
            body = self.session.segment(url, byterange).body
            self._bodies[key] = body
        return body

    def _body(self, cdn: str, variant: Variant, segment: Segment) -> bytes | None:
        key = (segment.url, segment.byterange)
        if key not in self._bodies:
            self._bodies[key] = self._read_body(cdn, variant, segment)
        return self._bodies[key]

    def _read_body(self, cdn: str, variant: Variant, segment: Segment) -> bytes | None:
        place = (cdn, variant.name, segment.start_s, segment.end_s)
        if segment.missing:
            self.faults.append(Fault(*place, 200, f"segment {segment.sequence} is marked as missing by the packager"))
            return None
        if segment.encrypted:
            self.leave_out(f"{variant.name} from {cdn}: the segments are encrypted")
            return None
        try:
            fetched = self.session.segment(segment.url, segment.byterange)
        except OriginError as error:
            self.faults.append(Fault(*place, error.status, str(error)))
            return None
        except RefusedError as error:
            self.leave_out(str(error))
            return None
        self.digests[(cdn, variant.name, segment.sequence)] = hashlib.sha256(fetched.body).digest()
        return fetched.body

    def window(self, look: Look, window_s: float, seconds_max: float, cdn: str, variant: Variant) -> list[TimeRange]:
        """The time to look at: what the look names, else the live edge, else the turn's window of a recording."""
        playlist = self.playlist(cdn, variant)
        if playlist is None or not playlist.segments:
            return []
        if look.ranges:
            return self._capped(look.ranges, seconds_max)
        if playlist.live:
            return [TimeRange(max(playlist.segments[0].start_s, playlist.end_s - window_s), playlist.end_s)]
        if playlist.end_s <= window_s:
            return [TimeRange(0.0, playlist.end_s)]
        start_s = windows_turn(look.turn, playlist.end_s, window_s)[0] * window_s
        self.leave_out(f"of {playlist.end_s:.0f} s only {start_s:.0f} to {start_s + window_s:.0f} s were looked at")
        return [TimeRange(start_s, min(playlist.end_s, start_s + window_s))]

    def _capped(self, ranges: Iterable[TimeRange], seconds_max: float) -> list[TimeRange]:
        kept: list[TimeRange] = []
        left_s = seconds_max
        for part in ranges:
            length_s = min(part.end_s - part.start_s, left_s)
            if length_s < part.end_s - part.start_s:
                self.leave_out(f"{part.start_s + length_s:.0f} to {part.end_s:.0f} s: a look takes {seconds_max:g} s")
            if length_s > 0:
                kept.append(TimeRange(part.start_s, part.start_s + length_s))
                left_s -= length_s
        return kept


def windows_turn(turn: int, total_s: float, window_s: float) -> tuple[int, int]:
    """Which window of a recording a turn takes, and how many times all windows were taken before."""
    count = max(1, int(-(-total_s // window_s)))
    return turn % count, turn // count


def odd_ones_out(digests: dict[tuple[str, str, int], bytes]) -> list[tuple[str, str, int]]:
    """Segments whose bytes from one CDN differ from what at least two others agree on: a verdict without decoding."""
    by_segment: dict[tuple[str, int], dict[bytes, list[str]]] = {}
    for (cdn, rendition, sequence), digest in digests.items():
        by_segment.setdefault((rendition, sequence), {}).setdefault(digest, []).append(cdn)
    odd = []
    for (rendition, sequence), holders in by_segment.items():
        largest = max(len(cdns) for cdns in holders.values())
        if largest >= 2:
            odd += [(cdns[0], rendition, sequence) for cdns in holders.values() if len(cdns) == 1]
    return sorted(odd)


def same_everywhere(digests: dict[tuple[str, str, int], bytes], rendition: str, sequences: Iterable[int]) -> bool:
    """Whether all CDNs that were read gave the same bytes for these segments."""
    wanted = set(sequences)
    seen: dict[int, set[bytes]] = {}
    for (_, name, sequence), digest in digests.items():
        if name == rendition and sequence in wanted:
            seen.setdefault(sequence, set()).add(digest)
    return all(len(digests_of) == 1 for digests_of in seen.values())
