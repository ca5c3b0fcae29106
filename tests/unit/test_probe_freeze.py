"""The freeze detector against ffmpeg's own freezedetect, and where it departs on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import pytest
from av.filter import Graph

from server_probe.detectors import Picture
from server_probe.detectors.base import Plane
from server_probe.detectors.freeze import FreezeDetector

FPS = 25
WIDTH, HEIGHT = 128, 96  # FFmpeg's AVX-512 sum reads beyond planes that are narrower than 64


def pictures(lumas: Sequence[Plane]) -> list[Picture]:
    chroma = np.full((HEIGHT // 2, WIDTH // 2), 128, dtype=np.uint8)
    return [Picture(index / FPS, 1 / FPS, (luma, chroma, chroma)) for index, luma in enumerate(lumas)]


def ours(lumas: Sequence[Plane]) -> list[tuple[float, float]]:
    detector = FreezeDetector()
    for picture in pictures(lumas):
        detector.picture(picture)
    return [(one.start_s, one.end_s) for one in detector.finish(len(lumas) / FPS)]


def ffmpegs(lumas: Sequence[Plane]) -> list[tuple[float, float]]:
    """Spans by libavfilter; one that is open at the end is closed there, which ffmpeg does not do."""
    graph = Graph()
    base = Fraction(1, FPS)
    source = graph.add_buffer(width=WIDTH, height=HEIGHT, format=av.VideoFormat("yuv420p"), time_base=base)
    detect = graph.add("freezedetect", "noise=-50dB:duration=0.5")
    sink = graph.add("buffersink")
    source.link_to(detect)
    detect.link_to(sink)
    graph.configure()
    spans: list[list[float]] = []
    for index, luma in enumerate(lumas):
        planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, dtype=np.uint8)
        planes[:HEIGHT] = luma
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = index, base
        graph.push(frame)
        told = graph.pull().metadata
        if "lavfi.freezedetect.freeze_start" in told:
            spans.append([float(told["lavfi.freezedetect.freeze_start"]), len(lumas) / FPS])
        if "lavfi.freezedetect.freeze_end" in told:
            spans[-1][1] = float(told["lavfi.freezedetect.freeze_end"])
    return [(start_s, end_s) for start_s, end_s in spans]


def scene(seed: int) -> list[Plane]:
    """Two minutes of random stretches: moving, still, still with faint noise, and fading."""
    rng = np.random.default_rng(seed)
    lumas: list[Plane] = []
    while len(lumas) < 120 * FPS:
        kind = rng.choice(["moving", "still", "noisy", "fading"])
        base = rng.integers(60, 180, (HEIGHT, WIDTH), dtype=np.uint8)
        for index in range(int(rng.integers(3, 4 * FPS))):
            if kind == "moving":
                lumas.append(rng.integers(60, 180, (HEIGHT, WIDTH), dtype=np.uint8))
            elif kind == "still":
                lumas.append(base)
            elif kind == "noisy":
                lumas.append(base + (rng.random((HEIGHT, WIDTH)) < 0.5).astype(np.uint8))
            else:
                lumas.append(base + np.uint8(index // 2))
    return lumas


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_what_ffmpeg_finds(seed: int) -> None:
    """Start and end of every still span agree with libavfilter's filter, on stretches drawn at random."""
    lumas = scene(seed)
    expected = ffmpegs(lumas)
    assert len(expected) > 5
    assert ours(lumas) == pytest.approx([pytest.approx(span, abs=0.001) for span in expected])


def test_a_redrawn_still_is_one_freeze() -> None:
    """A keyframe that redraws a still by little more than −50 dB does not cut it in two, unlike in ffmpeg."""
    still = np.random.default_rng(1).integers(60, 180, (HEIGHT, WIDTH), dtype=np.uint8)
    redrawn = still + np.uint8(2)
    moving = [np.random.default_rng(seed).integers(60, 180, (HEIGHT, WIDTH), dtype=np.uint8) for seed in range(2, 12)]
    lumas = [*moving, *[still] * 50, *[redrawn] * 50, *moving]
    assert len(ffmpegs(lumas)) == 2
    assert ours(lumas) == [(10 / FPS, 110 / FPS)]


def test_a_slow_fade_is_not_a_freeze() -> None:
    """Steps too small to see one by one do not add up to a still picture."""
    base = np.random.default_rng(1).integers(60, 120, (HEIGHT, WIDTH), dtype=np.uint8)
    assert ours([base + np.uint8(index // 4) for index in range(200)]) == []


def test_black_is_not_a_freeze() -> None:
    """A black pause is the black detector's; it may be long, still and meant."""
    assert ours([np.full((HEIGHT, WIDTH), 16, dtype=np.uint8)] * 100) == []


def test_a_freeze_shorter_than_half_a_second_is_none() -> None:
    """Twelve pictures at 25 a second stay silent, thirteen are told."""
    rng = np.random.default_rng(4)
    moving = [rng.integers(60, 180, (HEIGHT, WIDTH), dtype=np.uint8) for _ in range(20)]
    still = rng.integers(60, 180, (HEIGHT, WIDTH), dtype=np.uint8)
    assert ours([*moving, *[still] * 12, *moving]) == []
    assert len(ours([*moving, *[still] * 13, *moving])) == 1
