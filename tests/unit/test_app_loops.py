"""Background loops say which threads they run in."""

from __future__ import annotations

import threading

from tocsin.app.loops import Loops


def test_running_loops_are_named_with_the_id_of_their_thread() -> None:
    """The id that the system knows the thread by, while it runs; a loop that has ended is no longer named."""
    loops = Loops(lambda: None)
    seen: dict[str, int] = {}
    begun = threading.Event()

    def body() -> None:
        seen["work"] = threading.get_native_id()
        begun.set()
        loops.stopping.wait(10)

    loops.run("work", body)
    assert begun.wait(10)
    assert loops.thread_ids() == seen
    loops.stop()
    assert loops.thread_ids() == {}
