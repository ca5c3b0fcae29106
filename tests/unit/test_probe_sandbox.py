"""The child that decodes: what it may not do, and that its death is told and survived."""

from __future__ import annotations

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from server_probe.bench import CHILDREN_MAX, Bench
from server_probe.sandbox import Sandbox, SandboxError, SandboxLimits
from server_probe.seccomp import lock_in, program_for
from server_probe.wire import Answer, Facts, Job, Still, checked
from tocsin.model.errors import CorruptError

ROOT = Path(__file__).resolve().parents[2]
ALL = ("gaps", "corruption", "freeze", "black", "silence", "clipping")


def clip(pictures: int, size: int = 64, container: str = "mpegts") -> bytes:
    """Moving noise, H.264."""
    buffer = io.BytesIO()
    output: Any = av.open(buffer, "w", format=container)
    video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "40"})
    video.width = video.height = size
    video.pix_fmt = "yuv420p"
    video.codec_context.thread_count = 1
    rng = np.random.default_rng(7)
    for _ in range(pictures):
        planes = rng.integers(16, 235, (size * 3 // 2, size), dtype=np.uint8)
        output.mux(video.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
    output.mux(video.encode(None))
    output.close()
    return buffer.getvalue()


def locked_in(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has locked itself in first."""
    start = "import os, socket, threading, sys; from server_probe.seccomp import lock_in; said = lock_in();"
    start += "sys.exit(77) if said != 'on' else None\n"
    return subprocess.run([sys.executable, "-c", start + code], cwd=ROOT, capture_output=True, text=True, check=False)


def need_seccomp(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if done.returncode == 77:
        pytest.skip("this kernel has no seccomp")
    return done


@pytest.mark.parametrize("code", ["socket.socket()", "socket.socketpair()", "os.execv('/bin/true', ['true'])"])
def test_sockets_and_programs_kill_it(code: str) -> None:
    """The process is gone before the call returns (SIGSYS)."""
    done = need_seccomp(locked_in(code + "\nprint('alive')"))
    assert (done.returncode, done.stdout) == (-31, "")


@pytest.mark.parametrize("code", ["os.fork()", "threading.Thread(target=print).start()"])
def test_it_can_start_neither_processes_nor_threads(code: str) -> None:
    """Refused, so that what decodes is one thread that can be accounted for."""
    done = need_seccomp(locked_in(code + "\nprint('alive')"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "PermissionError" in done.stderr or "can't start new thread" in done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/hostname')",
        "open('/tmp/x', 'w')",
        "os.listdir('/')",
        "os.kill(os.getppid(), 0)",
        "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    ],
)
def test_files_signals_and_executable_memory_are_refused(code: str) -> None:
    """EPERM: what the code cannot have it cannot use."""
    imported = "import mmap\n" if "mmap" in code else ""
    body = f"{imported}{code.removeprefix('import mmap; ')}"
    script = f"try:\n    {body.splitlines()[-1]}\nexcept PermissionError:\n    print('refused')\n"
    done = need_seccomp(locked_in_with(imported, script))
    assert done.stdout == "refused\n", done.stderr


def locked_in_with(imported: str, script: str) -> subprocess.CompletedProcess[str]:
    """Like `locked_in`, with imports that must come before the lock."""
    start = f"import os, socket, sys\n{imported}from server_probe.seccomp import lock_in\n"
    start += "sys.exit(77) if lock_in() != 'on' else None\n"
    return subprocess.run([sys.executable, "-c", start + script], cwd=ROOT, capture_output=True, text=True, check=False)


def test_reading_writing_and_memory_still_work() -> None:
    """What a decoder needs is left: pipes, memory, clocks, exit."""
    done = need_seccomp(
        locked_in("x = bytearray(50_000_000); import time; time.monotonic(); print(len(sys.stdin.read()))")
    )
    assert (done.returncode, done.stdout) == (0, "0\n")


def test_the_filter_is_whole_on_both_machines() -> None:
    """Instructions are 8 bytes, end in a return, and differ by machine."""
    for machine in ("x86_64", "aarch64"):
        program = program_for(machine)
        assert len(program) % 8 == 0
        assert program[-8:-6] == b"\x06\x00"
    assert program_for("x86_64") != program_for("aarch64")


def test_an_unknown_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no filter is written the answer is words, not silence."""
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert "none is written" in lock_in()


def test_bytes_of_strangers_are_answered_not_died_of() -> None:
    """Noise, a cut clip, a damaged clip and the wrong container each get an answer from one child."""
    good = clip(50)
    rng = np.random.default_rng(3)
    damaged = bytearray(good)
    for position in rng.integers(2_000, len(good), 300):
        damaged[position] ^= int(rng.integers(1, 256))
    with Sandbox(SandboxLimits()) as sandbox:
        clean = sandbox.ask(Job("mpegts", 0.0, ALL), good)
        assert clean.facts.pictures == 50
        assert clean.error == ""
        assert sandbox.ask(Job("mpegts", 0.0, ALL), rng.bytes(100_000)).facts.pictures == 0
        assert sandbox.ask(Job("mp4", 0.0, ALL), good).error != ""
        assert sandbox.ask(Job("mpegts", 0.0, ALL), b"").error != ""
        assert 0 < sandbox.ask(Job("mpegts", 0.0, ALL), good[: len(good) // 2]).facts.pictures < 50
        hurt = sandbox.ask(Job("mpegts", 0.0, ALL), bytes(damaged))
        assert any(one.detector == "corruption" for one in hurt.findings)
        assert sandbox.ask(Job("mpegts", 0.0, ALL), good).facts == clean.facts


def test_a_subtitle_track_is_passed_over() -> None:
    """Tracks that no detector looks at need modules of av that picture and sound do not: they are there already."""
    buffer = io.BytesIO()
    output: Any = av.open(buffer, "w", format="matroska")
    video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
    video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
    subtitles = output.add_mux_stream("subrip")
    for index in range(10):
        planes = np.full((72, 64), 40 + 10 * index, dtype=np.uint8)
        output.mux(video.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
    packet = av.Packet(b"hello")
    packet.stream, packet.pts, packet.dts, packet.duration, packet.time_base = subtitles, 0, 0, 100, Fraction(1, 1000)
    output.mux(packet)
    output.mux(video.encode(None))
    output.close()
    with Sandbox(SandboxLimits()) as sandbox:
        answer = sandbox.ask(Job("matroska", 0.0, ALL), buffer.getvalue())
    assert (answer.facts.pictures, answer.error) == (10, "")


def test_a_picture_beyond_the_limit_is_not_decoded() -> None:
    """A frame larger than allowed costs no memory: no picture comes out of it."""
    data = clip(3, size=256)
    with Sandbox(SandboxLimits(pixels_max=128 * 128)) as sandbox:
        assert sandbox.ask(Job("mpegts", 0.0, ("freeze",)), data).facts.pictures == 0
    with Sandbox(SandboxLimits(pixels_max=256 * 256)) as sandbox:
        assert sandbox.ask(Job("mpegts", 0.0, ("freeze",)), data).facts.pictures == 3


def test_the_cpu_limit_kills_the_child_and_says_so() -> None:
    """A clip that costs more than allowed ends the child; the next one starts anew; the cost is counted."""
    data = clip(100, size=256) * 40
    with Bench(SandboxLimits(cpu_s=1)) as bench:
        assert bench.ask(Job("mpegts", 0.0, ALL), data) is None
        assert "used its 1 s of CPU" in bench.deaths[0]
        small = bench.ask(Job("mpegts", 0.0, ALL), clip(5))
        assert small is not None
        assert small.facts.pictures == 5
        assert bench.cpu_s > 0.8


def test_a_silent_child_is_killed_at_the_deadline() -> None:
    """Wall time is bounded too, here to nothing."""
    with pytest.raises(SandboxError, match="no answer within"), Sandbox(SandboxLimits(wall_s=0.001)):
        pass


def test_too_little_memory_is_told() -> None:
    """A child that cannot even start ends in words."""
    with pytest.raises(SandboxError, match="decoding: the child"), Sandbox(SandboxLimits(memory_bytes=2**20)):
        pass


def test_a_look_does_not_start_children_for_ever() -> None:
    """After three deaths a look gives up."""
    with Bench(SandboxLimits(wall_s=0.001)) as bench:
        for _ in range(CHILDREN_MAX + 2):
            assert bench.ask(Job("mpegts", 0.0, ALL), b"x") is None
        assert len(bench.deaths) == CHILDREN_MAX


def test_what_a_child_says_is_checked() -> None:
    """A still whose bytes do not match its size never becomes a picture."""
    for still in (Still(0.0, 100, 100, b"short"), Still(0.0, 100_000, 1, bytes(300_000)), Still(0.0, 0, 0, b"")):
        with pytest.raises(CorruptError, match="a still of"):
            checked(Answer(Facts(), stills=(still,)))
    with pytest.raises(CorruptError, match="9 stills"):
        checked(Answer(Facts(), stills=(Still(0.0, 1, 1, b"abc"),) * 9))
