"""A server process that outlives the command that started it, and is stopped by its own id only.

The kernel gives a process id to another program once the first has ended. So a record holds the id *and* the kernel's
start time of the process (field 22 of /proc/PID/stat, in clock ticks since boot): a signal goes out only when both fit.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tocsin.model.errors import UnavailableError

POLL_S = 0.05
_STARTTIME_FIELD = 22
_FIRST_FIELD_AFTER_NAME = 3


@dataclass(frozen=True)
class ServerProcess:
    """One started process: its id and the kernel's start time of it, in clock ticks since boot."""

    pid: int
    start_ticks: int

    def alive(self) -> bool:
        """True while this very process runs; an ended child of ours is reaped on the way."""
        _reap(self.pid)
        return _start_ticks(self.pid) == self.start_ticks

    def stop(self, signum: int = signal.SIGTERM, timeout_s: float = 20.0) -> None:
        """Signal the process and wait for its end; after `timeout_s` it gets SIGKILL. Nothing to do if it is gone."""
        if not self.alive():
            return
        os.kill(self.pid, signum)
        try:
            wait_until(lambda: not self.alive(), f"the end of process {self.pid}", timeout_s)
        except UnavailableError:
            os.kill(self.pid, signal.SIGKILL)
            wait_until(lambda: not self.alive(), f"the end of process {self.pid} after SIGKILL", timeout_s)


def spawn(argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> ServerProcess:
    """Start `argv` in a session of its own, its output appended to `log`."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True
        )
    ticks = _start_ticks(child.pid)
    # The object would warn at its end that the child still runs, which is the purpose here.
    child.returncode = 0
    return ServerProcess(child.pid, -1 if ticks is None else ticks)


def wait_until(
    ready: Callable[[], bool], what: str, timeout_s: float, hint: str | Callable[[], str] = "", poll_s: float = POLL_S
) -> None:
    """Ask `ready` until it is true; after `timeout_s` `UnavailableError` names `what`, with `hint` as it is then."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            said = hint if isinstance(hint, str) else hint()
            raise UnavailableError(f"waited {timeout_s:g} s for {what} in vain. {said}".rstrip())
        time.sleep(poll_s)


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_record(path: Path, record: Mapping[str, object]) -> None:
    """Write a JSON record whole or not at all, readable by its owner only (it may hold a password)."""
    draft = path.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(dict(record)), encoding="utf-8")
    draft.replace(path)


def read_record(path: Path) -> dict[str, object]:
    """The record at `path`, or an empty one where none was written."""
    if not path.exists():
        return {}
    loaded: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def process_fields(process: ServerProcess) -> dict[str, object]:
    """The process as fields of a record."""
    return asdict(process)


def process_of(record: Mapping[str, object]) -> ServerProcess | None:
    """The process that a record names, if it names one."""
    if "pid" not in record:
        return None
    return ServerProcess(int(str(record["pid"])), int(str(record["start_ticks"])))


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder for one command at a time, so that two `up` start one server."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file, for an error message."""
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _start_ticks(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may hold blanks and brackets itself: the fields start after its last bracket.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    return int(fields[_STARTTIME_FIELD - _FIRST_FIELD_AFTER_NAME])


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
