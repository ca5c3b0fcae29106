"""Whatever strangers send, the probe's parsers answer with a value or with their own error."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from server_probe.fetch import Fetcher, FetchPolicy, Origin, OriginError, RefusedError
from server_probe.manifest import ManifestError, container_of, parse_master, parse_media

URL = "https://cdn.example/a/master.m3u8"
CLOSED = Fetcher(FetchPolicy(()), resolver=lambda *_: ["127.0.0.1"])
OPEN = Fetcher(FetchPolicy((Origin.parse("https://cdn.example"),)))
TAGS = st.sampled_from(
    [
        "#EXTM3U",
        "#EXTINF:3.0,",
        "#EXTINF:1e400,",
        "#EXTINF:",
        "#EXT-X-TARGETDURATION:6",
        "#EXT-X-TARGETDURATION:-",
        "#EXT-X-MEDIA-SEQUENCE:99999999999999999999",
        "#EXT-X-BYTERANGE:5@9",
        "#EXT-X-BYTERANGE:@",
        '#EXT-X-MAP:URI="i.mp4",BYTERANGE="x@y"',
        "#EXT-X-MAP:",
        "#EXT-X-KEY:METHOD=AES-128",
        "#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=1x1",
        "#EXT-X-STREAM-INF:BANDWIDTH=-1,RESOLUTION=x",
        "#EXT-X-STREAM-INF:",
        "#EXT-X-MEDIA:TYPE=AUDIO",
        "#EXT-X-PROGRAM-DATE-TIME:9999-99-99",
        "#EXT-X-PROGRAM-DATE-TIME:2025-01-01T00:00:00Z",
        "#EXT-X-DISCONTINUITY",
        "#EXT-X-GAP",
        "#EXT-X-ENDLIST",
        "#EXT-X-PART:DURATION=1",
        "#EXT-X-DEFINE:NAME=a",
        "#EXT-X-DATERANGE:ID=1",
        "segment.ts",
        "http://[::1",
        "",
    ]
)
PLAYLISTS = st.lists(TAGS | st.text(max_size=30), max_size=30).map(
    lambda lines: "\n".join(["#EXTM3U", *lines]).encode()
)


@given(PLAYLISTS | st.binary(max_size=300))
def test_a_media_playlist_is_read_or_refused(body: bytes) -> None:
    """No other error comes out, and times are finite, positive and rising."""
    try:
        playlist = parse_media(body, URL)
    except ManifestError:
        return
    reached_s = -math.inf
    for segment in playlist.segments:
        assert math.isfinite(segment.start_s)
        assert segment.duration_s > 0
        assert segment.start_s >= reached_s
        reached_s = segment.start_s


@given(PLAYLISTS | st.binary(max_size=300))
def test_a_master_is_read_or_refused(body: bytes) -> None:
    """No other error comes out, names are unique, and none is the master itself."""
    try:
        variants = parse_master(body, URL)
    except ManifestError:
        return
    assert len({variant.name for variant in variants}) == len(variants)
    assert all(variant.url != URL for variant in variants) or len(variants) == 1


@given(st.text(max_size=60) | st.from_regex(r"(https?|file)://[a-z0-9.\[\]:@%\\]{0,30}/?.{0,10}", fullmatch=True))
def test_no_url_passes_the_gate_by_accident(url: str) -> None:
    """With nothing on the list, nothing is connected to, and the answer is the gate's own error."""
    with CLOSED.session() as reading:
        try:
            reading.manifest(url)
        except RefusedError:
            return
    raise AssertionError(f"{url!r} was read")


@given(st.from_regex(r"https://cdn\.example[a-z0-9.\[\]:@%\\/?#]{0,20}", fullmatch=True))
def test_only_the_listed_host_is_ever_resolved(url: str) -> None:
    """However a URL is bent around the listed host, no other host's address is asked for."""
    asked: list[tuple[str, int]] = []
    with OPEN.session() as reading:
        reading.resolver = lambda host, port: asked.append((host, port)) or []  # type: ignore[func-returns-value]
        try:
            reading.manifest(url)
        except (RefusedError, OriginError):
            assert set(asked) <= {("cdn.example", 443)}
            return
    raise AssertionError(f"{url!r} was read")


@given(st.binary(max_size=1_000))
def test_any_bytes_have_a_container_or_none(data: bytes) -> None:
    """Sniffing never fails, and text is never a container."""
    assert container_of(data) in {"", "mpegts", "mp4", "matroska", "aac"}
    assert container_of(b"#" + data) == "" or data[3:7] in (b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"emsg")
