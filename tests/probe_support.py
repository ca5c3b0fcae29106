"""Synthetic clips for the probe's tests: events as a decoder would give them, without one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from server_probe.detectors import Detector, Mark, Picture, Sound

FPS = 25
RATE_HZ = 48_000
AUDIO_FRAME = 1024
Event = Mark | Picture | Sound


def clean_events(seconds: float = 10.0, seed: int = 0) -> Iterator[Event]:
    """A moving picture and live sound in order of time, each picture and block behind the mark of its packet."""
    rng = np.random.default_rng(seed)
    chroma = np.full((18, 32), 128, dtype=np.uint8)
    blocks = int(seconds * RATE_HZ / AUDIO_FRAME)
    moments = [(index / FPS, "video", index) for index in range(int(seconds * FPS))]
    moments += [(index * AUDIO_FRAME / RATE_HZ, "audio", index) for index in range(blocks)]
    for at_s, kind, index in sorted(moments):
        if kind == "video":
            yield Mark("video", at_s, 1 / FPS, is_key=index % 50 == 0)
            yield Picture(at_s, 1 / FPS, (rng.integers(40, 200, (36, 64), dtype=np.uint8), chroma, chroma))
        else:
            yield Mark("audio", at_s, AUDIO_FRAME / RATE_HZ, is_key=True)
            samples = rng.uniform(-0.5, 0.5, (AUDIO_FRAME, 1)).astype(np.float32)
            yield Sound(at_s, samples, RATE_HZ)


def feed(detector: Detector, events: Iterable[Event]) -> Detector:
    """Give each event to the method that takes it."""
    for event in events:
        if isinstance(event, Mark):
            detector.mark(event)
        elif isinstance(event, Picture):
            detector.picture(event)
        else:
            detector.sound(event)
    return detector
