"""Test streams with a known defect: small HLS streams whose picture and sound are drawn by code.

A viewer's player and the probe must agree with the truth, so the defects are made where they happen in life:

* `Gap`: one rendition's video packets are dropped after encoding while the sound goes on: the timestamps jump, as when
  an encoder restarts or a packager loses its input. The other rendition is whole.
* `Freeze`: the picture drawn for the encoder stands still, so that every rendition carries it and no player can see it.

The same `StreamSpec` gives the same bytes: texture and noise come from its seed, and the encoders run on one thread.
One minute in two renditions costs about 2 s of CPU.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from tocsin.model.errors import InputError

FPS = 25
SAMPLE_RATE_HZ = 48_000
AUDIO_FRAME = 1024
SEGMENT_S = 3
SECONDS_MAX = 600
TILE_PX = 10
"""Edge of one square of the texture; it divides the width and height of the largest rendition."""


@dataclass(frozen=True)
class RenditionSpec:
    """One rung of the ladder: its name is its folder, `bandwidth_bps` is what the master playlist declares."""

    name: str
    width: int
    height: int
    bandwidth_bps: int


RENDITIONS = (RenditionSpec("180p", 320, 180, 700_000), RenditionSpec("270p", 480, 270, 1_400_000))


@dataclass(frozen=True)
class Gap:
    """The picture of one rendition is missing in [at_s, at_s + length_s); the sound goes on."""

    at_s: float
    length_s: float = 4.0
    rendition: str = "270p"


@dataclass(frozen=True)
class Freeze:
    """The picture stands still in [at_s, at_s + length_s) in every rendition; the sound goes on."""

    at_s: float
    length_s: float = 12.0


@dataclass(frozen=True)
class StreamSpec:
    """What to make: `name` is the folder, `seed` decides texture and noise, `defects` may be empty (healthy)."""

    name: str
    seed: int = 0
    seconds: int = 60
    defects: tuple[Gap | Freeze, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be made; raises `InputError`."""
        if not 1 <= self.seconds <= SECONDS_MAX:
            raise InputError(f"making stream {self.name!r}: seconds={self.seconds}; give 1 to {SECONDS_MAX}")
        names = {rendition.name for rendition in RENDITIONS}
        for defect in self.defects:
            if defect.at_s < 0 or defect.length_s <= 0 or defect.at_s + defect.length_s > self.seconds:
                raise InputError(f"making stream {self.name!r}: {defect} lies outside 0 to {self.seconds} s")
            if isinstance(defect, Gap) and defect.rendition not in names:
                raise InputError(f"making stream {self.name!r}: rendition {defect.rendition!r}; give one of {names}")


class _Painter:
    """Draws a sun that sinks in rings over ground that scrolls, under a sky that drifts: no two frames are alike."""

    def __init__(self, seed: int, width: int, height: int) -> None:
        rng = np.random.default_rng(seed)
        self._width, self._height = width, height
        self._horizon = height * 5 // 9
        tiles = rng.integers(30, 170, (height // TILE_PX + 1, 2 * width // TILE_PX), dtype=np.uint8)
        self._ground = tiles.repeat(TILE_PX, axis=0).repeat(TILE_PX, axis=1)[: height - self._horizon]
        columns = np.arange(2 * width)
        waves = 24 * np.sin(2 * np.pi * columns / width + rng.uniform(0, 6)) + 16 * np.sin(10 * np.pi * columns / width)
        rise = np.linspace(90, 190, self._horizon)[:, None]
        self._sky = np.clip(rise + waves[None, :], 16, 235).astype(np.uint8)
        self._rows, self._columns = np.ogrid[: self._horizon, :width]
        self._colours = rng.integers(100, 156, 4, dtype=np.uint8)

    def frame(self, index: int) -> av.VideoFrame:
        """Picture `index` as yuv420p."""
        width, height, horizon = self._width, self._height, self._horizon
        planes = np.empty((height * 3 // 2, width), dtype=np.uint8)
        drift, scroll = index % width, 6 * index % width
        planes[:horizon] = self._sky[:, drift : drift + width]
        planes[horizon:height] = self._ground[:, scroll : scroll + width]
        centre_x, centre_y = 3 * index % width, horizon // 2 + int(horizon / 4 * np.sin(index / 40))
        distance = (self._rows - centre_y) ** 2 + (self._columns - centre_x) ** 2
        planes[:horizon][distance < (height // 7) ** 2] = 235
        planes[:horizon][distance < (height // 12) ** 2] = 180
        chroma = planes[height:].reshape(2, height // 2, width // 2)
        chroma[:, : horizon // 2] = self._colours[:2, None, None]
        chroma[:, horizon // 2 :] = self._colours[2:, None, None]
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = index
        frame.time_base = Fraction(1, FPS)
        return frame


class _Rung:
    """One rendition being written: its HLS muxer and its video encoder."""

    def __init__(self, folder: Path, spec: RenditionSpec, gaps: tuple[Gap, ...]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.spec = spec
        self._gaps = gaps
        self._scaler = VideoReformatter()
        self._container: Any = av.open(
            str(folder / "index.m3u8"),
            "w",
            format="hls",
            options={
                "hls_time": str(SEGMENT_S),
                "hls_list_size": "0",
                "hls_playlist_type": "vod",
                "hls_segment_filename": str(folder / "%05d.ts"),
            },
        )
        self._video: Any = self._container.add_stream("libx264", rate=FPS)
        self._video.width, self._video.height, self._video.pix_fmt = spec.width, spec.height, "yuv420p"
        self._video.codec_context.thread_count = 1
        self._video.codec_context.gop_size = SEGMENT_S * FPS
        self._video.options = {"preset": "ultrafast", "crf": "28", "sc_threshold": "0", "forced-idr": "1"}
        self.audio: Any = self._container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono", format="fltp")
        self.audio.bit_rate = 64_000
        self._container.start_encoding()

    def picture(self, frame: av.VideoFrame | None, *, key: bool = False) -> None:
        """Encode one picture (None: flush); packets inside a gap never reach the muxer."""
        if frame is not None:
            index = frame.pts
            frame = self._scaler.reformat(frame, self.spec.width, self.spec.height, threads=1)
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            frame.pict_type = PictureType.I if key else PictureType.NONE
        for packet in self._video.encode(frame):
            at_s = float(packet.pts * packet.time_base)
            if not any(gap.at_s <= at_s < gap.at_s + gap.length_s for gap in self._gaps):
                self._container.mux(packet)

    def sound(self, packets: list[tuple[bytes, int, int, Fraction]]) -> None:
        """Mux packets (payload, pts, duration, time base) that were encoded once for all renditions."""
        for payload, pts, duration, time_base in packets:
            packet = av.Packet(payload)
            packet.pts = packet.dts = pts
            packet.duration = duration
            packet.time_base = time_base
            packet.stream = self.audio
            self._container.mux(packet)

    def close(self) -> None:
        """Flush the video encoder and finish the playlist."""
        self.picture(None)
        self._container.close()


def _sound_of(seed: int, seconds: int) -> npt.NDArray[np.float32]:
    """Mono samples: a tone that swells twice a second over quiet noise, always well above silence."""
    rng = np.random.default_rng(seed + 1)
    at_s = np.arange(seconds * SAMPLE_RATE_HZ, dtype=np.float64) / SAMPLE_RATE_HZ
    pitch_hz = 220.0 + 40.0 * (seed % 8)
    tone = (0.15 + 0.08 * np.sin(4 * np.pi * at_s)) * np.sin(2 * np.pi * pitch_hz * at_s)
    noise: npt.NDArray[np.float32] = rng.standard_normal(at_s.size, dtype=np.float32)
    return (tone + 0.02 * noise).astype(np.float32)


class _SoundTrack:
    """Encodes the sound once, a second at a time, for every rendition's muxer."""

    def __init__(self, samples: npt.NDArray[np.float32]) -> None:
        self._samples = samples
        self._at = 0
        self._encoder: Any = av.CodecContext.create("aac", "w")
        self._encoder.sample_rate = SAMPLE_RATE_HZ
        self._encoder.layout = "mono"
        self._encoder.format = "fltp"
        self._encoder.bit_rate = 64_000
        self._encoder.time_base = Fraction(1, SAMPLE_RATE_HZ)

    def until(self, seconds: float) -> list[tuple[bytes, int, int, Fraction]]:
        """The packets up to `seconds`; at the end of the samples the encoder is flushed."""
        frames: list[av.AudioFrame | None] = []
        while self._at < len(self._samples) and self._at < seconds * SAMPLE_RATE_HZ:
            chunk = self._samples[None, self._at : self._at + AUDIO_FRAME]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk), format="fltp", layout="mono")
            frame.sample_rate = SAMPLE_RATE_HZ
            frame.pts = self._at
            frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
            frames.append(frame)
            self._at += AUDIO_FRAME
        if self._at >= len(self._samples):
            frames.append(None)
        return [
            (bytes(packet), packet.pts, packet.duration, packet.time_base)
            for frame in frames
            for packet in self._encoder.encode(frame)
        ]


def _frozen_index(index: int, freezes: list[Freeze]) -> int:
    """The picture that is drawn in place of picture `index`: inside a freeze the one at its start."""
    for freeze in freezes:
        start = round(freeze.at_s * FPS)
        if start <= index < start + round(freeze.length_s * FPS):
            return start
    return index


def make_stream(folder: Path, spec: StreamSpec) -> Path:
    """Write `folder/<spec.name>/master.m3u8` with its renditions and segments; returns the master playlist's path."""
    root = folder / spec.name
    gaps = [defect for defect in spec.defects if isinstance(defect, Gap)]
    freezes = [defect for defect in spec.defects if isinstance(defect, Freeze)]
    rungs = [
        _Rung(root / rendition.name, rendition, tuple(gap for gap in gaps if gap.rendition == rendition.name))
        for rendition in RENDITIONS
    ]
    largest = RENDITIONS[-1]
    painter = _Painter(spec.seed, largest.width, largest.height)
    track = _SoundTrack(_sound_of(spec.seed, spec.seconds))
    resume_at = {round((gap.at_s + gap.length_s) * FPS) for gap in gaps}
    for index in range(spec.seconds * FPS):
        frame = painter.frame(_frozen_index(index, freezes))
        frame.pts = index
        sound = track.until((index + FPS) / FPS) if index % FPS == 0 else []
        for rung in rungs:
            rung.picture(frame, key=index in resume_at)
            rung.sound(sound)
    for rung in rungs:
        rung.close()
    master = root / "master.m3u8"
    lines = ["#EXTM3U", "#EXT-X-VERSION:3"]
    for rendition in RENDITIONS:
        lines.append(
            f"#EXT-X-STREAM-INF:BANDWIDTH={rendition.bandwidth_bps},"
            f'RESOLUTION={rendition.width}x{rendition.height},FRAME-RATE={FPS},CODECS="avc1.42c01e,mp4a.40.2"'
        )
        lines.append(f"{rendition.name}/index.m3u8")
    master.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return master


class _QuietFiles(SimpleHTTPRequestHandler):
    """A static file handler with the media types of HLS, which keeps its log to itself."""

    extensions_map = {  # noqa: RUF012 - the base class declares it so
        **SimpleHTTPRequestHandler.extensions_map,
        ".m3u8": "application/vnd.apple.mpegurl",
        ".ts": "video/mp2t",
    }

    def end_headers(self) -> None:
        """Let a browser's player on another port read the media."""
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the demo's screen belongs to the demo."""


class _QuietServer(ThreadingHTTPServer):
    """A server that takes it for granted that readers go away in the middle of a file."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report every error but a closed connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve `folder` on a free port of 127.0.0.1 while the block runs; gives `http://127.0.0.1:PORT`."""
    server = _QuietServer(("127.0.0.1", 0), partial(_QuietFiles, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
