"""Playlists of strangers: what is read from them, and what is refused."""

from __future__ import annotations

import pytest

from server_probe.manifest import ManifestError, container_of, parse_master, parse_media
from server_probe.registry import StreamRegistry
from tocsin.model.errors import ConfigError

URL = "https://cdn.example/title/master.m3u8"
MEDIA = """#EXTM3U
#EXT-X-TARGETDURATION:6
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-PROGRAM-DATE-TIME:2025-01-01T00:00:00Z
#EXT-X-MAP:URI="init.mp4"
#EXTINF:3.0,
a.m4s
#EXT-X-DISCONTINUITY
#EXT-X-BYTERANGE:100@5
#EXTINF:6.0,
b.m4s
#EXT-X-BYTERANGE:50
#EXTINF:3.0,
b.m4s
"""


def test_segments_have_times_groups_and_ranges() -> None:
    """Wall-clock times while live, a new group at a discontinuity, ranges that follow one another."""
    playlist = parse_media(MEDIA.encode(), URL)
    assert (playlist.live, playlist.on_wall_clock) == (True, True)
    first, second, third = playlist.segments
    assert (first.sequence, second.sequence) == (7, 8)
    assert first.start_s == 1_735_689_600.0
    assert second.start_s == first.end_s
    assert (first.group, second.group) == (0, 1)
    assert (second.byterange, third.byterange) == ((5, 100), (105, 50))
    assert first.init_url == "https://cdn.example/title/init.mp4"
    assert playlist.between(first.start_s + 4, first.start_s + 5) == [second]


def test_a_recording_starts_at_zero() -> None:
    """With an end, times are seconds from the start."""
    playlist = parse_media((MEDIA + "#EXT-X-ENDLIST\n").encode(), URL)
    assert not playlist.live
    assert playlist.segments[0].start_s == 0.0
    assert playlist.end_s == 12.0


def test_renditions_are_named_and_found_by_what_heartbeats_say() -> None:
    """By height, size, bandwidth or folder; two of one height stay apart."""
    text = (
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=700000,RESOLUTION=320x180\nlow/i.m3u8\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=320x180\nmid/i.m3u8\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=1400000,RESOLUTION=480x270\nhigh/i.m3u8\n"
    )
    variants = parse_master(text.encode(), URL)
    assert [variant.bandwidth_bps for variant in variants] == [1_400_000, 900_000, 700_000]
    assert len({variant.name for variant in variants}) == 3
    best = variants[0]
    assert all(best.is_called(word) for word in ("270p", "480x270", "1400000", "high"))
    assert not best.is_called("180p")


def test_a_media_playlist_is_its_own_only_rendition() -> None:
    """A stream may be registered by its media playlist."""
    assert [variant.url for variant in parse_master(MEDIA.encode(), URL)] == [URL]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not start with #EXTM3U"),
        ("<html>", "does not start with #EXTM3U"),
        ('<?xml version="1.0"?><MPD></MPD>', "DASH"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmaster.m3u8\n", "names itself"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=x\nu\n", "ValueError"),
        ("#EXTM3U\n" + "#EXT-X-STREAM-INF:BANDWIDTH=1\nu\n" * 33, "33 renditions"),
    ],
)
def test_a_master_that_cannot_be_used_says_why(text: str, reason: str) -> None:
    """One error type, with the manifest's URL and the reason."""
    with pytest.raises(ManifestError, match=reason) as error:
        parse_master(text.encode(), URL)
    assert URL in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nu\n", "a master playlist where"),
        ("#EXTM3U\n#EXTINF:inf,\nu\n", "lasts inf"),
        ("#EXTM3U\n#EXTINF:nan,\nu\n", "lasts nan"),
        ("#EXTM3U\n#EXTINF:-1,\nu\n", "lasts -1"),
        ("#EXTM3U\n#EXTINF:3,\n#EXT-X-BYTERANGE:-5@0\nu\n", "byte range"),
        ("#EXTM3U\n" + "#EXTINF:1,\nu\n" * 50_001, "50001 segments"),
    ],
)
def test_a_media_playlist_that_cannot_be_used_says_why(text: str, reason: str) -> None:
    """A playlist cannot make the probe read for ever, backwards, or a playlist in place of a segment."""
    with pytest.raises(ManifestError, match=reason):
        parse_media(text.encode(), URL)


@pytest.mark.parametrize(
    ("data", "container"),
    [
        ((b"\x47" + bytes(187)) * 5, "mpegts"),
        (b"\x00\x00\x00\x18ftypmp42", "mp4"),
        (b"\x1aE\xdf\xa3", "matroska"),
        (b"ID3\x04", "aac"),
        (b"#EXTM3U\nhttp://127.0.0.1/", ""),
        (b"ffconcat version 1.0\nfile /etc/passwd", ""),
        (b"", ""),
    ],
)
def test_only_known_containers_reach_the_decoder(data: bytes, container: str) -> None:
    """Scripts and playlists that FFmpeg would guess are none."""
    assert container_of(data) == container


def test_streams_come_from_csv_one_line_a_manifest() -> None:
    """Two CDNs of one stream are one stream; a wrong mode names its line."""
    head = "stream,cdn,url,mode\n"
    registry = StreamRegistry.from_csv(head + "s1,a,http://a/m,vod\ns1,b,http://b/m,vod\ns2,a,http://a/n,live\n")
    stream = registry.get("s1")
    assert stream is not None
    assert stream.manifests == {"a": "http://a/m", "b": "http://b/m"}
    assert registry.ids() == ["s1", "s2"]
    with pytest.raises(ConfigError, match="line 2: mode 'tv'"):
        StreamRegistry.from_csv(head + "s1,a,http://a/m,tv\n")
    with pytest.raises(ConfigError, match="column 'cdn' is missing"):
        StreamRegistry.from_csv("stream,url,mode\n")
    with pytest.raises(ConfigError, match=r"'s'.*mode"):
        StreamRegistry.from_config({"s": {"manifests": {"a": "http://a/m"}, "mode": "tv"}})
