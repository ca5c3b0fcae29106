"""Starts the sandboxed child, hands it bytes, and lives on when it does not.

One child serves one look (it costs about 0.4 s of CPU to start). It gets bytes on a pipe and nothing else: a bare
environment, no inherited files. A crash, a kill by a limit, or silence until the deadline becomes a `SandboxError`
with the reason; the child's CPU is counted in every case.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from server_probe.wire import (
    ANSWER_BYTES_MAX,
    FRAME_BYTES_MAX,
    Answer,
    Job,
    Ready,
    Setup,
    checked,
    receive,
    send,
)
from tocsin.model.errors import CorruptError, InputError, TocsinError

_ROOT = Path(__file__).resolve().parent.parent
_ERROR_BYTES_MAX = 4_096


class SandboxError(TocsinError):
    """The child that decodes is gone: killed by a limit, crashed, or silent until the deadline."""


@dataclass(frozen=True)
class SandboxLimits:
    """What one child may use. `require_seccomp` refuses to decode where the kernel has no seccomp."""

    cpu_s: int = 60
    memory_bytes: int = 1_024 * 2**20
    wall_s: float = 120.0
    pixels_max: int = 4_096 * 2_304
    require_seccomp: bool = False


class Sandbox:
    """A running child; use as a context manager. Raises `SandboxError` where it cannot be started or dies."""

    def __init__(self, limits: SandboxLimits) -> None:
        self._limits = limits
        self.cpu_s = 0.0
        self.seccomp = ""
        self._overdue = False
        self._lock = threading.Lock()
        environment = {"PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._child = subprocess.Popen(
            [sys.executable, "-s", "-m", "server_probe.sandbox_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            close_fds=True,
        )
        self._timer = threading.Timer(limits.wall_s, self._kill_overdue)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        """Set the child up and wait until it is locked in."""
        try:
            setup = Setup(self._limits.cpu_s, self._limits.memory_bytes, self._limits.pixels_max)
            self._send(msgspec.msgpack.encode(setup))
            self.seccomp = msgspec.msgpack.decode(self._receive(), type=Ready).seccomp
            self._insist_on_seccomp()
        except BaseException:
            self.close()
            raise
        return self

    def _insist_on_seccomp(self) -> None:
        if self._limits.require_seccomp and self.seccomp != "on":
            raise SandboxError(
                f"starting the decoding child: {self.seccomp}, and require_seccomp is set; "
                "run the probe on a kernel with seccomp or unset it"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child."""
        self.close()

    def ask(self, job: Job, data: bytes) -> Answer:
        """Have one clip looked at. Raises `SandboxError` if the child dies of it, `InputError` if it is too large."""
        if len(data) > FRAME_BYTES_MAX:
            raise InputError(
                f"probing a clip of {len(data)} bytes; at most {FRAME_BYTES_MAX} fit, so take fewer seconds"
            )
        self._send(msgspec.msgpack.encode(job))
        self._send(data)
        payload = self._receive()
        try:
            answer = checked(msgspec.msgpack.decode(payload, type=Answer))
        except (msgspec.DecodeError, CorruptError) as error:
            self.close()
            raise SandboxError(f"reading the decoding child's answer: {error}; the child was ended") from error
        self.cpu_s += answer.cpu_s
        return answer

    def close(self) -> None:
        """End the child and count the CPU it has used; may be called again."""
        self._timer.cancel()
        if self._child.returncode is None:
            self._reap()
        for stream in (self._child.stdin, self._child.stdout, self._child.stderr):
            if stream is not None and not stream.closed:
                _close(stream)

    def _kill_overdue(self) -> None:
        with self._lock:
            if self._child.returncode is None:
                self._overdue = True
                os.kill(self._child.pid, signal.SIGKILL)

    def _reap(self) -> int:
        """Kill the child, if it lives, and wait for it; its whole CPU replaces what was counted answer by answer.

        Not by `Popen.kill`: that polls first, and a child it finds dead takes its rusage with it.
        """
        with self._lock:
            os.kill(self._child.pid, signal.SIGKILL)
            _, status, usage = os.wait4(self._child.pid, 0)
            self._child.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_s = usage.ru_utime + usage.ru_stime
        return self._child.returncode

    def _send(self, payload: bytes) -> None:
        if self._child.returncode is not None or self._child.stdin is None:
            raise SandboxError("asking the decoding child: it has ended")
        try:
            send(self._child.stdin, payload)  # type: ignore[arg-type]
        except (BrokenPipeError, OSError) as error:
            raise self._obituary() from error

    def _receive(self) -> bytes:
        if self._child.returncode is not None or self._child.stdout is None:
            raise SandboxError("asking the decoding child: it has ended")
        try:
            payload = receive(self._child.stdout, ANSWER_BYTES_MAX)  # type: ignore[arg-type]
        except CorruptError as error:
            raise self._obituary() from error
        if payload is None:
            raise self._obituary()
        return payload

    def _obituary(self) -> SandboxError:
        """End what is left of the child and say how it died."""
        self._timer.cancel()
        code = self._reap() if self._child.returncode is None else self._child.returncode
        said = self._child.stderr.read(_ERROR_BYTES_MAX) if self._child.stderr is not None else b""
        limits = self._limits
        if self._overdue:
            return SandboxError(f"decoding: no answer within {limits.wall_s:g} s; the child was killed")
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and self.cpu_s >= limits.cpu_s):
            return SandboxError(f"decoding: the child used its {limits.cpu_s} s of CPU and was killed")
        if code == -signal.SIGSYS:
            return SandboxError("decoding: the child made a system call that is forbidden to it and was killed")
        if code < 0:
            return SandboxError(f"decoding: the child was killed by {signal.Signals(-code).name}")
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        return SandboxError(f"decoding: the child ended with status {code}: {last[0][:300]}")


def _close(stream: BinaryIO | object) -> None:
    """Close a pipe whose other end may be gone."""
    try:
        stream.close()  # type: ignore[union-attr]
    except BrokenPipeError:
        return
