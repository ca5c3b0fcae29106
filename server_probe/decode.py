"""Bytes of one clip → packets, pictures and sound. Runs inside the sandboxed child; the only user of av in the probe.

av gets bytes and the name of their container, never an address, and is not left to guess: a playlist or a script that
calls itself a video would otherwise make FFmpeg open what it names. One thread, so that the seccomp filter need not
allow more.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import av
import av.error
import numpy as np
import numpy.typing as npt

from server_probe.detectors.base import Mark, Picture, Plane, Sound
from server_probe.wire import STILL_HEIGHT_MAX, STILL_WIDTH_MAX, Facts, Still
from tocsin.model.errors import InputError

_PLANAR_8BIT = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})
_FULL_RANGE = frozenset({"yuvj420p", "yuvj422p", "yuvj444p"})
_MOTION_ROWS = 16
FAILURES_MAX = 1_000
"""Packets the decoder refuses before the rest of the clip is left alone."""


class Sink(Protocol):
    """Takes what the walk over a clip meets, in the order of the file."""

    def mark(self, mark: Mark) -> None:
        """Take one packet."""

    def picture(self, picture: Picture) -> None:
        """Take one picture."""

    def sound(self, sound: Sound) -> None:
        """Take one block of sound."""


@dataclass
class _Tally:
    """Counts while walking; becomes `Facts`."""

    start_s: dict[str, float] = field(default_factory=dict)
    end_s: dict[str, float] = field(default_factory=dict)
    packets: int = 0
    keyframes: int = 0
    pictures: int = 0
    samples: int = 0
    energy: float = 0.0
    failures: int = 0
    motion: float = 0.0
    rows: npt.NDArray[np.int16] | None = None

    def moved(self, luma: Plane) -> None:
        rows = luma[::_MOTION_ROWS].astype(np.int16)
        if self.rows is not None and self.rows.shape == rows.shape:
            self.motion += float(np.abs(rows - self.rows).mean()) / 256
        self.rows = rows

    def span(self, mark: Mark) -> None:
        self.packets += 1
        self.keyframes += mark.kind == "video" and mark.is_key
        self.start_s[mark.kind] = min(self.start_s.get(mark.kind, mark.at_s), mark.at_s)
        end_s = mark.at_s + mark.duration_s
        self.end_s[mark.kind] = max(self.end_s.get(mark.kind, end_s), end_s)


def _refuse_open(url: str, _flags: int, _options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"opening {url!r} from inside a clip: clips may not name other files")


class Clip:
    """One opened clip. Raises `InputError` where the bytes are not what they were said to be."""

    def __init__(self, data: bytes, container: str, start_s: float, pixels_max: int) -> None:
        try:
            opened: Any = av.open(io.BytesIO(data), format=container, metadata_errors="replace", io_open=_refuse_open)
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(f"opening {len(data)} bytes as {container}: {error}") from error
        self._container = opened
        streams = opened.streams
        self._video: Any = next((stream for stream in streams.video if stream.codec_context is not None), None)
        self._audio: Any = next((stream for stream in streams.audio if stream.codec_context is not None), None)
        for stream in self._streams():
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
        if self._video is not None:
            self._video.codec_context.options = {"max_pixels": str(pixels_max)}
        self._start_s = start_s
        self._base_s = (opened.start_time or 0) / 1_000_000
        rate = self._video.average_rate if self._video is not None else None
        self._picture_s = 1 / float(rate) if rate else 0.04
        self._tally = _Tally()

    def close(self) -> None:
        """Free the clip."""
        self._container.close()

    def _time_s(self, pts: int, time_base: Any) -> float:
        return float(pts * time_base) - self._base_s + self._start_s

    def _streams(self) -> list[Any]:
        return [stream for stream in (self._video, self._audio) if stream is not None]

    def _mark_of(self, packet: Any, *, at_joint: bool) -> Mark:
        kind = "video" if packet.stream is self._video else "audio"
        usual_s = self._picture_s if kind == "video" else 0.0
        duration_s = float(packet.duration * packet.time_base) if packet.duration else usual_s
        return Mark(
            kind,
            self._time_s(packet.pts, packet.time_base),
            duration_s,
            packet.is_keyframe,
            packet.is_corrupt and not at_joint,
        )

    def walk(self, sink: Sink, joints: tuple[int, ...], *, pictures: bool, sound: bool) -> Facts:
        """Feed the whole clip to `sink`: marks always, pictures and sound if asked for.

        A packet on either side of a joint is not called corrupt: packagers may restart the continuity counter with each
        segment. Pictures before the first keyframe are left out.
        """
        seen_key = False
        for packet, at_joint in _with_joints(self._container.demux(self._streams()), joints):
            if packet.pts is not None:
                mark = self._mark_of(packet, at_joint=at_joint)
                self._tally.span(mark)
                sink.mark(mark)
                seen_key = seen_key or (mark.kind == "video" and mark.is_key)
            is_video = packet.stream is self._video
            if is_video and pictures and seen_key:
                self._decode(packet, lambda frame: self._picture(frame, sink), sink)
            elif not is_video and sound:
                self._decode(packet, lambda frame: self._sound(frame, sink), sink)
            if self._tally.failures > FAILURES_MAX:
                break
        return self._facts()

    def _decode(self, packet: Any, take: Callable[[Any], None], sink: Sink) -> None:
        try:
            frames = packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            self._tally.failures += 1
            if packet.pts is not None:
                mark = self._mark_of(packet, at_joint=False)
                sink.mark(Mark(mark.kind, mark.at_s, mark.duration_s, mark.is_key, is_corrupt=True))
            return
        for frame in frames:
            if frame.pts is not None:
                take(frame)

    def _picture(self, frame: Any, sink: Sink) -> None:
        self._tally.pictures += 1
        planes = _planes_of(frame)
        self._tally.moved(planes[0])
        duration_s = float(frame.duration * frame.time_base) if frame.duration else self._picture_s
        sink.picture(
            Picture(
                self._time_s(frame.pts, frame.time_base),
                duration_s,
                planes,
                bool(frame.is_corrupt),
                frame.format.name in _FULL_RANGE,
            )
        )

    def _sound(self, frame: Any, sink: Sink) -> None:
        samples = _samples_of(frame)
        self._tally.samples += samples.size
        self._tally.energy += float(np.square(samples, dtype=np.float64).sum())
        sink.sound(Sound(self._time_s(frame.pts, frame.time_base), samples, frame.sample_rate))

    def _facts(self) -> Facts:
        tally = self._tally
        context = self._video.codec_context if self._video is not None else None
        return Facts(
            video_codec=context.name if context is not None else "",
            audio_codec=self._audio.codec_context.name if self._audio is not None else "",
            width=context.width if context is not None else 0,
            height=context.height if context is not None else 0,
            video_start_s=tally.start_s.get("video", -1.0),
            video_end_s=tally.end_s.get("video", -1.0),
            audio_start_s=tally.start_s.get("audio", -1.0),
            audio_end_s=tally.end_s.get("audio", -1.0),
            pictures=tally.pictures,
            packets=tally.packets,
            keyframes=tally.keyframes,
            sound_level=(tally.energy / tally.samples) ** 0.5 if tally.samples else 0.0,
            motion=tally.motion / max(1, tally.pictures - 1),
        )

    def still(self, at_s: float) -> Still | None:
        """What is on the screen at `at_s`: the last picture that starts by then, at most 640 wide.

        Decodes from the clip's start, on a clip that was not walked: seeking in MPEG-TS lands beyond a gap.
        """
        shown = self._shown_at(at_s) if self._video is not None else None
        return None if shown is None else _still_of(shown, self._time_s(shown.pts, shown.time_base))

    def _shown_at(self, at_s: float) -> Any:
        shown = None
        for frame in self._pictures():
            if shown is not None and self._time_s(frame.pts, frame.time_base) > at_s:
                break
            shown = frame
        return shown

    def _pictures(self) -> Iterator[Any]:
        """All pictures that can be decoded; damaged packets are passed over."""
        for packet in self._container.demux([self._video]):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._tally.failures += 1
                if self._tally.failures > FAILURES_MAX:
                    return
                continue
            yield from (frame for frame in frames if frame.pts is not None)


def _with_joints(packets: Iterable[Any], joints: tuple[int, ...]) -> Iterable[tuple[Any, bool]]:
    """Each packet, and whether it is the last of its track before a joint or the first after one."""
    held: dict[int, tuple[Any, bool]] = {}
    segment_of: dict[int, int] = {}
    bounds = np.asarray(joints, dtype=np.int64)
    if not bounds.size:
        for packet in packets:
            yield packet, False
        return
    for packet in packets:
        track = packet.stream_index
        position = packet.pos if packet.pos is not None else -1
        segment = int(np.searchsorted(bounds, position, side="right"))
        crossed = position >= 0 and track in segment_of and segment != segment_of[track]
        if track in held:
            before, was_joint = held.pop(track)
            yield before, was_joint or crossed
        held[track] = (packet, crossed)
        if position >= 0:
            segment_of[track] = segment
    yield from held.values()


def _planes_of(frame: Any) -> tuple[Plane, ...]:
    """The planes as 8-bit arrays without their padding; other formats are converted to yuv420p."""
    if frame.format.name not in _PLANAR_8BIT:
        frame = frame.reformat(format="yuv420p", threads=1)
    return tuple(
        np.frombuffer(plane, dtype=np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    )


def _samples_of(frame: Any) -> npt.NDArray[np.float32]:
    """Samples × channels at full scale 1.0, whatever the codec's format."""
    raw = frame.to_ndarray()
    channels = len(frame.layout.channels)
    samples: npt.NDArray[Any] = raw.T if frame.format.is_planar else raw.reshape(-1, channels)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - np.float32(128)) / np.float32(128)
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
    return np.ascontiguousarray(samples, dtype=np.float32)


def _still_of(frame: Any, at_s: float) -> Still:
    scale = min(1.0, STILL_WIDTH_MAX / frame.width, STILL_HEIGHT_MAX / frame.height)
    width, height = max(1, int(frame.width * scale)), max(1, int(frame.height * scale))
    rgb = frame.reformat(width=width, height=height, format="rgb24", threads=1).to_ndarray()
    return Still(at_s, width, height, np.ascontiguousarray(rgb).tobytes())
