"""The sandboxed child: limits itself, warms up, locks itself in, then answers jobs from its standard input.

Warming up matters: Python and av import lazily, and once the filter is on nothing can be opened any more. So every
module of av is imported (a subtitle track would ask for one of its own), and a tiny clip is encoded, decoded and looked
at by every detector before `lock_in`.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import resource
import sys
import time
from contextlib import closing
from typing import Any

import av
import msgspec
import numpy as np

from server_probe.decode import Clip
from server_probe.detectors import REGISTRY, Detector, Finding, Mark, Picture, Sound
from server_probe.seccomp import lock_in
from server_probe.wire import (
    ANSWER_BYTES_MAX,
    FRAME_BYTES_MAX,
    STILLS_MAX,
    Answer,
    Facts,
    Job,
    Ready,
    Setup,
    Still,
    receive,
    send,
)
from tocsin.model.errors import TocsinError

_NOT_FOR_DECODING = frozenset({"av.__main__", "av.datasets"})
_CLIP_SETUP_BYTES_MAX = 65_536


class _Panel:
    """The chosen detectors as one sink."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._detectors: list[Detector] = [REGISTRY[name]() for name in names]
        self.end_s = 0.0

    def needs(self, what: str) -> bool:
        """Whether any of the detectors looks at "marks", "pictures" or "sound"."""
        return any(what in detector.needs for detector in self._detectors)

    def mark(self, mark: Mark) -> None:
        """Take one packet."""
        self.end_s = max(self.end_s, mark.at_s + mark.duration_s)
        for detector in self._detectors:
            detector.mark(mark)

    def picture(self, picture: Picture) -> None:
        """Take one picture."""
        for detector in self._detectors:
            detector.picture(picture)

    def sound(self, sound: Sound) -> None:
        """Take one block of sound."""
        for detector in self._detectors:
            detector.sound(sound)

    def finish(self) -> tuple[Finding, ...]:
        """All findings."""
        return tuple(finding for detector in self._detectors for finding in detector.finish(self.end_s))


def answer(job: Job, data: bytes, pixels_max: int) -> Answer:
    """Look at one clip; what goes wrong with its bytes is said in the answer."""
    began_s = time.process_time()
    panel = _Panel(job.detectors)
    facts = Facts()
    stills: list[Still] = []
    error = ""
    try:
        if job.detectors:
            facts = _walked(job, data, pixels_max, panel)
        for at_s in job.stills_at[:STILLS_MAX]:
            with closing(Clip(data, job.container, job.start_s, pixels_max)) as clip:
                still = clip.still(at_s)
            stills += [] if still is None else [still]
    except (TocsinError, OSError, ValueError, MemoryError) as fault:
        error = f"{type(fault).__name__}: {fault}"[:500]
    findings = panel.finish() if job.detectors else ()
    return Answer(facts, findings, tuple(stills), error, time.process_time() - began_s)


def _walked(job: Job, data: bytes, pixels_max: int, panel: _Panel) -> Facts:
    with closing(Clip(data, job.container, job.start_s, pixels_max)) as clip:
        return clip.walk(panel, job.joints, pictures=panel.needs("pictures"), sound=panel.needs("sound"))


def _tiny_clip() -> bytes:
    """A quarter of a second of picture and sound as MPEG-TS."""
    buffer = io.BytesIO()
    container: Any = av.open(buffer, "w", format="mpegts")
    video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
    video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
    video.codec_context.thread_count = 1
    audio = container.add_stream("aac", rate=48_000, layout="mono")
    for index in range(6):
        planes = np.full((72, 64), 40 + 20 * index, dtype=np.uint8)
        container.mux(video.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
    for index in range(10):
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48_000
        sound.pts = 1024 * index
        container.mux(audio.encode(sound))
    container.mux(video.encode(None))
    container.mux(audio.encode(None))
    container.close()
    return buffer.getvalue()


def _limit(setup: Setup) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (setup.memory_bytes, setup.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (setup.cpu_s, setup.cpu_s + 1))


def _warm_up(setup: Setup) -> None:
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in _NOT_FOR_DECODING:
            importlib.import_module(module.name)
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Job)
    job = Job("mpegts", 0.0, tuple(REGISTRY), (188,), (0.1,))
    job = decoder.decode(encoder.encode(job))
    encoder.encode(answer(job, _tiny_clip(), setup.pixels_max))
    encoder.encode(answer(job, b"not a clip", setup.pixels_max))


def main() -> int:
    """Answer jobs until the input ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    av.logging.set_level(None)
    encoder, jobs = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Job)
    first = receive(source, _CLIP_SETUP_BYTES_MAX)
    if first is None:
        return 0
    setup = msgspec.msgpack.decode(first, type=Setup)
    _limit(setup)
    _warm_up(setup)
    send(sink, encoder.encode(Ready(lock_in())))
    while (head := receive(source, _CLIP_SETUP_BYTES_MAX)) is not None:
        data = receive(source, FRAME_BYTES_MAX)
        if data is None:
            return 1
        payload = encoder.encode(answer(jobs.decode(head), data, setup.pixels_max))
        if len(payload) > ANSWER_BYTES_MAX:
            payload = encoder.encode(Answer(Facts(), error=f"the answer has {len(payload)} bytes"))
        send(sink, payload)
    return 0


if __name__ == "__main__":
    sys.exit(main())
