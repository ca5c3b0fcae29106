"""HLS playlists → renditions and segments with their place in time. Parsing only; every URL is checked when it is read.

Nesting is exact, not counted: a master names media playlists, and a media playlist names segments. A playlist that
names itself, or a master inside a master, is refused. DASH is not read yet and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import m3u8

from tocsin.model.errors import InputError

RENDITIONS_MAX = 32
SEGMENTS_MAX = 50_000
SEGMENT_S_MAX = 120.0


class ManifestError(InputError):
    """A manifest that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Variant:
    """One rendition as the master declares it; `name` is unique in its master."""

    name: str
    url: str
    bandwidth_bps: int = 0
    width: int = 0
    height: int = 0
    codecs: str = ""
    has_own_sound: bool = True

    def is_called(self, wanted: str) -> bool:
        """Whether a heartbeat's word for a rendition means this one."""
        known = {self.name, f"{self.width}x{self.height}", f"{self.height}p", str(self.bandwidth_bps)}
        return wanted in known or wanted in self.url.split("/")

    @property
    def declares_picture(self) -> bool:
        """Whether the master says that there is picture in it."""
        return self.height > 0 or any(self.codecs.startswith(start) for start in ("avc", "hvc", "hev", "vp", "av01"))


@dataclass(frozen=True)
class Segment:
    """One segment: where it is read from, where it lies in time, and what must precede it."""

    url: str
    start_s: float
    duration_s: float
    sequence: int
    group: int
    """Rises with each discontinuity: timestamps are comparable inside a group only."""
    byterange: tuple[int, int] | None = None
    init_url: str = ""
    init_range: tuple[int, int] | None = None
    encrypted: bool = False
    missing: bool = False
    """The packager itself says so (EXT-X-GAP)."""

    @property
    def end_s(self) -> float:
        """When it ends."""
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class Playlist:
    """A media playlist. `start_s` of its segments is wall-clock time where `on_wall_clock`."""

    url: str
    segments: tuple[Segment, ...]
    live: bool
    target_s: float
    on_wall_clock: bool

    @property
    def end_s(self) -> float:
        """End of the last segment; 0.0 for an empty playlist."""
        return self.segments[-1].end_s if self.segments else 0.0

    def between(self, start_s: float, end_s: float) -> list[Segment]:
        """The segments that touch [start_s, end_s)."""
        return [segment for segment in self.segments if segment.end_s > start_s and segment.start_s < end_s]


def _parsed(text: str, url: str) -> Any:
    if "<MPD" in text[:2_000]:
        raise ManifestError(
            f"reading manifest {url}: it is DASH, which the probe does not read yet; register the HLS one"
        )
    if not text.lstrip("\ufeff \r\n").startswith("#EXTM3U"):
        raise ManifestError(f"reading manifest {url}: it does not start with #EXTM3U")
    return m3u8.loads(text, uri=url)


@contextmanager
def _own_errors(url: str) -> Iterator[None]:
    """What the m3u8 package, numbers and URLs in a playlist trip over becomes one error that names the manifest."""
    try:
        yield
    except ManifestError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ManifestError(f"reading manifest {url}: {type(error).__name__}: {error}") from error


def parse_master(body: bytes, url: str) -> list[Variant]:
    """The renditions, best bandwidth first; a bare media playlist is the one rendition "only".

    Raises `ManifestError`.
    """
    with _own_errors(url):
        return _variants(body, url)


def _variants(body: bytes, url: str) -> list[Variant]:
    parsed = _parsed(body.decode("utf-8", "replace"), url)
    if not parsed.is_variant:
        return [Variant("only", url)]
    if len(parsed.playlists) > RENDITIONS_MAX:
        raise ManifestError(f"reading manifest {url}: {len(parsed.playlists)} renditions; at most {RENDITIONS_MAX}")
    groups_apart = {media.group_id for media in parsed.media if media.type == "AUDIO" and media.uri}
    variants: list[Variant] = []
    for entry in parsed.playlists:
        info = entry.stream_info
        width, height = info.resolution or (0, 0)
        target = urljoin(url, entry.uri)
        if target == url:
            raise ManifestError(f"reading manifest {url}: it names itself as a rendition")
        name = f"{height}p" if height else f"{int(info.bandwidth or 0) // 1000}k"
        if any(variant.name == name for variant in variants):
            name = f"{name}@{int(info.bandwidth or 0) // 1000}k#{len(variants)}"
        bandwidth = int(info.bandwidth or 0)
        own_sound = info.audio not in groups_apart if info.audio else True
        variants.append(Variant(name, target, bandwidth, width, height, info.codecs or "", own_sound))
    if not variants:
        raise ManifestError(f"reading manifest {url}: it names no rendition")
    return sorted(variants, key=lambda variant: -variant.bandwidth_bps)


def parse_media(body: bytes, url: str) -> Playlist:
    """The segments with their times; raises `ManifestError`, also for a master where segments should be."""
    with _own_errors(url):
        return _playlist(body, url)


def _playlist(body: bytes, url: str) -> Playlist:
    parsed = _parsed(body.decode("utf-8", "replace"), url)
    if parsed.is_variant:
        raise ManifestError(f"reading manifest {url}: a master playlist where a media playlist should be")
    if len(parsed.segments) > SEGMENTS_MAX:
        raise ManifestError(f"reading manifest {url}: {len(parsed.segments)} segments; at most {SEGMENTS_MAX}")
    first = parsed.segments[0].current_program_date_time if parsed.segments else None
    live = not parsed.is_endlist
    at_s = first.timestamp() if first is not None and live else 0.0
    segments = []
    group = 0
    ranges: dict[str, int] = {}
    for index, entry in enumerate(parsed.segments):
        duration_s = float(entry.duration or 0.0)
        if not math.isfinite(duration_s) or not 0 < duration_s <= SEGMENT_S_MAX:
            raise ManifestError(f"reading manifest {url}: segment {index} lasts {entry.duration} s")
        group += bool(entry.discontinuity) and index > 0
        target = urljoin(url, entry.uri or "")
        init = entry.init_section
        segments.append(
            Segment(
                url=target,
                start_s=at_s,
                duration_s=duration_s,
                sequence=int(parsed.media_sequence or 0) + index,
                group=group,
                byterange=_byterange(entry.byterange, ranges, target, url),
                init_url=urljoin(url, init.uri) if init is not None and init.uri else "",
                init_range=_byterange(init.byterange, {}, "", url) if init is not None else None,
                encrypted=entry.key is not None and entry.key.method not in (None, "NONE"),
                missing=bool(entry.gap_tag),
            )
        )
        at_s += duration_s
    return Playlist(url, tuple(segments), live, float(parsed.target_duration or 0), first is not None and live)


def _byterange(text: str | None, ends: dict[str, int], target: str, url: str) -> tuple[int, int] | None:
    """ "LENGTH[@OFFSET]" → (offset, length); without an offset it follows the range before in the same file."""
    if not text:
        return None
    length_text, _, offset_text = text.strip('"').partition("@")
    try:
        length = int(length_text)
        offset = int(offset_text) if offset_text else ends.get(target, 0)
    except ValueError as error:
        raise ManifestError(f"reading manifest {url}: byte range {text!r}") from error
    if length <= 0 or offset < 0:
        raise ManifestError(f"reading manifest {url}: byte range {text!r}")
    ends[target] = offset + length
    return offset, length


def container_of(data: bytes) -> str:
    """What FFmpeg calls the container of these bytes, told by their first ones; "" if none that the probe decodes.

    FFmpeg is never left to guess: its guesses include scripts and playlists that open other files.
    """
    if len(data) > 4 * 188 and all(data[188 * index] == 0x47 for index in range(4)):
        return "mpegts"
    if data[4:8] in (b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"emsg"):
        return "mp4"
    if data[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0):
        return "aac"
    return ""
