"""What the probe and its sandboxed child say to each other: length-prefixed msgpack, every size bounded.

The child is not trusted: it has read hostile bytes. What it says is decoded into these types, and sizes are checked
again on this side.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import msgspec

from server_probe.detectors.base import Finding
from tocsin.model.errors import CorruptError

FRAME_BYTES_MAX = 256 * 2**20
ANSWER_BYTES_MAX = 32 * 2**20
STILL_WIDTH_MAX = 640
STILL_HEIGHT_MAX = 640
STILLS_MAX = 8
_LENGTH = struct.Struct("<I")


class Setup(msgspec.Struct, frozen=True):
    """First message to the child: the limits that it puts on itself before it reads any media."""

    cpu_s: int
    memory_bytes: int
    pixels_max: int


class Ready(msgspec.Struct, frozen=True):
    """The child's answer to `Setup`: `seccomp` is "on" or says why not."""

    seccomp: str


class Job(msgspec.Struct, frozen=True):
    """One clip to look at; its bytes follow as a message of their own.

    `container` is what the bytes were seen to be ("mpegts", "mp4", …), `start_s` the stream's time at the clip's start,
    `joints` the byte offsets at which segments meet, `stills_at` the times of which pictures are wanted.
    """

    container: str
    start_s: float
    detectors: tuple[str, ...]
    joints: tuple[int, ...] = ()
    stills_at: tuple[float, ...] = ()


class Facts(msgspec.Struct, frozen=True):
    """What the clip is, as far as it could be read. Times in seconds of the stream; −1 where there is no such track."""

    video_codec: str = ""
    audio_codec: str = ""
    width: int = 0
    height: int = 0
    video_start_s: float = -1.0
    video_end_s: float = -1.0
    audio_start_s: float = -1.0
    audio_end_s: float = -1.0
    pictures: int = 0
    packets: int = 0
    keyframes: int = 0
    sound_level: float = 0.0
    """Root mean square of all decoded sound, share of full scale."""
    motion: float = 0.0
    """Mean difference of each decoded picture from the one before, on every 16th row; share of full scale."""


class Still(msgspec.Struct, frozen=True):
    """A picture, RGB, 8 bits, row by row; what is on the screen at `at_s`."""

    at_s: float
    width: int
    height: int
    rgb: bytes


class Answer(msgspec.Struct, frozen=True):
    """The child's answer to one job; `error` is empty or says why the clip could not be read to its end."""

    facts: Facts
    findings: tuple[Finding, ...] = ()
    stills: tuple[Still, ...] = ()
    error: str = ""
    cpu_s: float = 0.0


def send(stream: BinaryIO, payload: bytes) -> None:
    """Write one message and flush."""
    stream.write(_LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def receive(stream: BinaryIO, bytes_max: int) -> bytes | None:
    """Read one message; None at the end of the stream. Raises `CorruptError` if it is too long or cut short."""
    head = stream.read(_LENGTH.size)
    if not head:
        return None
    if len(head) < _LENGTH.size:
        raise CorruptError(f"reading a probe message: {len(head)} bytes where its length should stand")
    (length,) = _LENGTH.unpack(head)
    if length > bytes_max:
        raise CorruptError(f"reading a probe message: {length} bytes; at most {bytes_max} are taken")
    payload = stream.read(length)
    if len(payload) < length:
        raise CorruptError(f"reading a probe message: it ends after {len(payload)} of {length} bytes")
    return payload


def checked(answer: Answer) -> Answer:
    """The answer, if its stills are what they say; raises `CorruptError` otherwise."""
    if len(answer.stills) > STILLS_MAX:
        raise CorruptError(f"reading a probe answer: {len(answer.stills)} stills; at most {STILLS_MAX} are taken")
    for still in answer.stills:
        sane = 0 < still.width <= STILL_WIDTH_MAX and 0 < still.height <= STILL_HEIGHT_MAX
        if not sane or len(still.rgb) != still.width * still.height * 3:
            raise CorruptError(
                f"reading a probe answer: a still of {still.width} × {still.height} with {len(still.rgb)} bytes"
            )
    return answer
