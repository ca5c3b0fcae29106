"""The place where clips are looked at: one sandboxed child a look, a new one if it dies, and a sum of what it cost."""

from __future__ import annotations

from typing import Self

from server_probe.sandbox import Sandbox, SandboxError, SandboxLimits
from server_probe.wire import Answer, Job

CHILDREN_MAX = 3
"""Children that one look may use up."""


class Bench:
    """Asks a child and outlives it. Use as a context manager."""

    def __init__(self, limits: SandboxLimits) -> None:
        self._limits = limits
        self._child: Sandbox | None = None
        self._children = 0
        self._spent_s = 0.0
        self.seccomp = "not needed"
        self.deaths: list[str] = []

    def __enter__(self) -> Self:
        """See the class."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the child."""
        self._bury()

    @property
    def cpu_s(self) -> float:
        """CPU of all children so far."""
        return self._spent_s + (self._child.cpu_s if self._child is not None else 0.0)

    def ask(self, job: Job, data: bytes) -> Answer | None:
        """Look at one clip; None if the child died of it (the reason is in `deaths`) or too many have died."""
        try:
            if self._child is None:
                if self._children >= CHILDREN_MAX:
                    return None
                self._children += 1
                self._child = Sandbox(self._limits).__enter__()
                self.seccomp = self._child.seccomp
            return self._child.ask(job, data)
        except SandboxError as error:
            self.deaths.append(str(error))
            self._bury()
            return None

    def _bury(self) -> None:
        if self._child is not None:
            self._child.close()
            self._spent_s += self._child.cpu_s
            self._child = None
