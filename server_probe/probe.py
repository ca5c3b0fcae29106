"""`tocsin probe URL|FILE`: one look at something that is in no registry, by someone who may read it anyway."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from server_probe.detectors import DEFAULT
from server_probe.fetch import Fetcher, FetchPolicy, FetchSession, Origin
from server_probe.ladder import Ladder, LadderLimits
from server_probe.look import Evidence, Look, TimeRange
from server_probe.manifest import Segment, Variant, container_of
from server_probe.reading import Piece
from server_probe.registry import Stream
from tocsin.model.errors import InputError

FILE_BYTES_MAX = 192 * 2**20
_DAY_S = 86_400.0


def probe_url(
    target: str,
    detectors: tuple[str, ...] = DEFAULT,
    *,
    ranges: tuple[TimeRange, ...] = (),
    allow_private: bool = False,
    limits: LadderLimits | None = None,
    clock: Callable[[], float] = time.time,
    look_id: str = "",
) -> Evidence:
    """Look at an HLS manifest or media file by URL, or at a media file on this machine; all of it, up to the limits.

    Only the URL's own origin is read from; `allow_private` lets it have a private address. Raises `InputError` where
    the file cannot be read, `ConfigError` for an unknown detector; everything else is in the verdict.
    """
    limits = limits or LadderLimits(window_s=120.0)
    now_ts_s = clock()
    look = Look(
        id=look_id or uuid.uuid4().hex,
        stream=target,
        reason="asked",
        queued_ts_s=now_ts_s,
        detectors=detectors,
        ranges=ranges,
    )
    is_url = urlsplit(target).scheme in ("http", "https")
    origins = (_origin_of(target, allow_private=allow_private),) if is_url else ()
    with Fetcher(FetchPolicy(origins)).session() as session:
        given = _media(target, _fetched(session, target)) if is_url else _media(target, _file(target))
        stream = Stream(target, {urlsplit(target).hostname or "file": target})
        return Ladder(look, stream, session, limits, given=given).climb(now_ts_s)


def _origin_of(url: str, *, allow_private: bool) -> Origin:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return Origin.parse(f"{parts.scheme}://{host}{port}", private=allow_private)


def _fetched(session: FetchSession, url: str) -> bytes:
    """The body behind a URL; b"" for a manifest, which the ladder reads by itself."""
    if urlsplit(url).path.endswith((".m3u8", ".m3u", ".mpd")):
        return b""
    body = session.segment(url).body
    return b"" if body.lstrip()[:7] == b"#EXTM3U" else body


def _file(path: str) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"probing {path}: {error.strerror}; give a media file or an http(s) URL") from error
    if len(data) > FILE_BYTES_MAX:
        raise InputError(f"probing {path}: more than {FILE_BYTES_MAX} bytes; cut out the seconds in question")
    return data


def _media(target: str, data: bytes) -> tuple[Piece, ...]:
    """A media file as one piece; none for a manifest."""
    if not data:
        return ()
    container = container_of(data[:2_000])
    if not container:
        raise InputError(f"probing {target}: neither MPEG-TS, MP4, Matroska nor AAC; manifests are probed by URL")
    segment = Segment(target, 0.0, _DAY_S, 0, 0)
    return (Piece(Variant("file", target), "file", (segment,), (data,), container),)
