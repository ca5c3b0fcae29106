"""A core process ends when a loop fails, also before it has begun to serve, and says so by its exit status."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any, cast

import pytest
from fastapi import FastAPI

from tocsin.app.core import Core, serve
from tocsin.app.loops import Loops


class StandIn:
    """As much of a core as `serve` touches; its only loop fails at once."""

    def __init__(self) -> None:
        self.loops = Loops(lambda: os.kill(os.getpid(), signal.SIGTERM))

    def app(self) -> FastAPI:
        """No routes."""
        return FastAPI()

    def start(self) -> None:
        """Start the loop and wait until it has failed: before the server is up."""

        def fail() -> None:
            raise ValueError("broken")

        self.loops.run("broken", fail)
        self.loops.stop()


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put this process's signal handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("handlers")
def test_a_loop_that_fails_at_once_ends_the_process() -> None:
    """The signal that it sends is not lost although nobody serves yet; the status tells of the failure."""
    core: Any = StandIn()
    assert serve(cast("Core", core), host="127.0.0.1", port=0) == 1
    assert core.loops.failed == {"broken": "ValueError: broken"}
