"""Background work of a process: named loops in threads, with one stop event; an outage is said once and tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from tocsin.model.errors import TocsinError

_log = structlog.get_logger(__name__)


class Loops:
    """Threads that run until `stop`. A loop that ends by an error is kept in `failed`, and `on_failed` is called."""

    def __init__(self, on_failed: Callable[[], None]) -> None:
        self._on_failed = on_failed
        self.stopping = threading.Event()
        self.failed: dict[str, str] = {}
        self._threads: list[threading.Thread] = []

    def every(self, name: str, work: Callable[[], object], wait: Callable[[threading.Event], bool]) -> None:
        """Call `work` whenever `wait` returns True; an outage (`TocsinError`) is logged and tried again.

        `wait` sleeps until the next turn is due or the event is set, and returns False in that case.
        """

        def body() -> None:
            said = ""
            while wait(self.stopping):
                try:
                    work()
                    said = ""
                except TocsinError as error:
                    if str(error) != said:
                        said = str(error)
                        _log.warning("trying again", loop=name, error=said)

        self.run(name, body)

    def run(self, name: str, body: Callable[[], object]) -> None:
        """Run `body` in a thread of its own; what it raises is kept in `failed` and logged."""

        def guarded() -> None:
            try:
                body()
            except Exception as error:  # noqa: BLE001  whatever it is, the process must say it and end
                self.failed[name] = f"{type(error).__name__}: {error}"
                _log.exception("loop ended by an error", loop=name)
                self._on_failed()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def thread_ids(self) -> dict[str, int]:
        """The system's id of each running loop's thread, by its name: what `top -H` shows its CPU under."""
        return {one.name: one.native_id for one in self._threads if one.native_id is not None and one.is_alive()}

    def stop(self, timeout_s: float = 30.0) -> None:
        """Let every loop finish its turn, and wait for them."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(timeout_s)


def each_s(seconds: float) -> Callable[[threading.Event], bool]:
    """A wait of `seconds` of real time."""
    return lambda stop: not stop.wait(seconds)
