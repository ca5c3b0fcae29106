"""The live audience of a demonstration in a thread, with the service's switches beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from player_sim.control import serve_control
from player_sim.sender import SenderSettings
from player_sim.simulator import Simulator, SimulatorSettings
from tocsin.app.clock import POLL_S, Clock
from tocsin.app.demo.scenario import Scenario
from tocsin.model.errors import UnavailableError

STOP_S = 60.0
CONNECTIONS = 32
"""Many, for each waits for its acknowledgement: a real audience has one a player."""


class Audience:
    """Plays from the seam on; `finish` stops it, delivers what waits, and gives the truth."""

    def __init__(self, scenario: Scenario, clock: Clock, url: str, seam_ms: int) -> None:
        async def sleep_until_ms(until_ms: int) -> None:
            while clock.now_ms() < until_ms:  # noqa: ASYNC110  only the conductor knows when it will be that late
                await asyncio.sleep(POLL_S)

        self.simulator = Simulator(
            scenario.world,
            scenario.faults,
            url,
            clock.now_ms,
            sleep_until_ms,
            start_ms=seam_ms,
            settings=SimulatorSettings(sender=SenderSettings(connections=CONNECTIONS)),
        )
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._truth: dict[str, Any] | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="audience", daemon=True)

    def start(self) -> None:
        """Begin to play and send."""
        self._thread.start()

    def finish(self) -> dict[str, Any]:
        """Stop playing, deliver, and return the truth; raises `UnavailableError` where it could not."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_S)
        if self._truth is None:
            raise UnavailableError(f"stopping the audience: {self.error or 'it did not stop in time'}")
        return self._truth

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._truth = self._loop.run_until_complete(self.simulator.run(self._stop))
        except Exception as error:  # noqa: BLE001  kept, and raised by `finish` and the watch
            self.error = error
        finally:
            self._loop.close()


@contextmanager
def switches(audience: Audience) -> Iterator[str]:
    """Serve the simulated service's CDN switches; gives their base URL."""
    with serve_control(audience.simulator) as url:
        yield url
