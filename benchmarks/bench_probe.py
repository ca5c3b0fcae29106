"""CPU seconds that the probe needs for a minute of media: each detector alone, all together, and a whole look.

`python benchmarks/bench_probe.py [--seconds N]` makes a clip by code (1920 × 1080 at 25 pictures a second), looks at it
in the sandbox as the worker does, and prints a table and one JSON line. `container` reads packets only; `start` is what
a child costs before its first clip. The share that a background sample leaves for is told as streams an hour at 5 % of
one core, 10 s each.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from server_probe.detectors import REGISTRY
from server_probe.sandbox import Sandbox, SandboxLimits
from server_probe.wire import Job

FPS = 25
RATE_HZ = 48_000
WIDTH, HEIGHT = 1920, 1080
SHARE = 0.05
LOOK_S = 10.0


def made_clip(seconds: int) -> bytes:
    """A scrolling texture with a tone, H.264 at a broadcast's bitrate and AAC in MPEG-TS."""
    buffer = io.BytesIO()
    container: Any = av.open(buffer, "w", format="mpegts")
    video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "26", "threads": "1"})
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    audio = container.add_stream("aac", rate=RATE_HZ, layout="stereo")
    rng = np.random.default_rng(1)
    texture = rng.integers(40, 200, (HEIGHT // 20, WIDTH // 10), dtype=np.uint8).repeat(20, axis=0).repeat(20, axis=1)
    tone = (0.2 * np.sin(np.arange(1024) * 2 * np.pi * 440 / RATE_HZ)).astype(np.float32)
    sounds = 0
    for index in range(seconds * FPS):
        planes = np.full((HEIGHT * 3 // 2, WIDTH), 120, dtype=np.uint8)
        shift = 4 * index % WIDTH
        planes[:HEIGHT] = texture[:, shift : shift + WIDTH]
        container.mux(video.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        while sounds * 1024 < (index + 1) / FPS * RATE_HZ:
            sound = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
            sound.sample_rate, sound.pts = RATE_HZ, 1024 * sounds
            container.mux(audio.encode(sound))
            sounds += 1
    container.mux(video.encode(None))
    container.mux(audio.encode(None))
    container.close()
    return buffer.getvalue()


def cost_s(data: bytes, detectors: tuple[str, ...]) -> tuple[float, float]:
    """CPU of the job alone, and of the whole child."""
    with Sandbox(SandboxLimits(cpu_s=300, wall_s=600.0)) as sandbox:
        answer = sandbox.ask(Job("mpegts", 0.0, detectors), data)
    if answer.error or answer.findings:
        raise SystemExit(f"the clean clip was not clean: {answer.error} {answer.findings}")
    return answer.cpu_s, sandbox.cpu_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    seconds = parser.parse_args().seconds
    data = made_clip(seconds)
    scale = 60 / seconds
    a_minute = {name: round(cost_s(data, (name,))[0] * scale, 3) for name in sorted(REGISTRY)}
    together_s, child_s = cost_s(data, tuple(REGISTRY))
    start_s = child_s - together_s
    look_s = together_s / seconds * LOOK_S + start_s
    for name, cpu_s in a_minute.items():
        sys.stdout.write(f"{name:12} {cpu_s:7.3f} CPU s a minute of {WIDTH} × {HEIGHT}\n")
    result = {
        "bench": "probe",
        "clip": {"width": WIDTH, "height": HEIGHT, "fps": FPS, "seconds": seconds, "bytes": len(data)},
        "cpu_s_a_minute": a_minute,
        "cpu_s_a_minute_together": round(together_s * scale, 3),
        "cpu_s_a_minute_one_process_each": round(sum(a_minute.values()) + len(REGISTRY) * start_s, 3),
        "cpu_s_start": round(start_s, 3),
        "cpu_s_look": round(look_s, 3),
        "streams_an_hour_at_5_percent": round(3600 * SHARE / look_s),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
