"""The live audience: plays along a clock and sends its heartbeats, until it is stopped.

From `start_ms` on (the seam with the drawn history) the audience is the one that the history ends with: the same
sessions go on, so nothing steps there. `drain` is the service's own switch, which a remediation throws.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from player_sim.audience import MINUTE_MS, World
from player_sim.faults.kinds import Fault
from player_sim.influence import Faults
from player_sim.mischief import Mischief, MischiefSettings
from player_sim.player import Players
from player_sim.sender import Sender, SenderSettings
from player_sim.truth import TruthRecorder
from player_sim.wire import Envelope, EnvelopeWriter
from tocsin.model.cubes import DEFAULT_CUBES, Cube

CATCH_UP_MS = 10_000
_LONG_AFTER = 2**62


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """How to play and send. `step_ms` of virtual time go by between two rounds of sending."""

    step_ms: int = 1_000
    events_per_request: int = 20
    flush_timeout_s: float = 30.0
    sender: SenderSettings = field(default_factory=SenderSettings)
    mischief: MischiefSettings = field(default_factory=MischiefSettings)
    cubes: tuple[Cube, ...] = DEFAULT_CUBES


class Simulator:
    """One live audience. `drain` and `status` may be called from any thread while `run` runs.

    `now_ms` is the clock (epoch ms, maybe scaled); `sleep_until_ms` waits until it shows a time. `start_ms` is cut to
    a whole minute; `end_ms` is when to stop by itself, 0 for never.
    """

    def __init__(
        self,
        world: World,
        faults: Sequence[Fault],
        url: str,
        now_ms: Callable[[], int],
        sleep_until_ms: Callable[[int], Awaitable[None]],
        *,
        start_ms: int,
        end_ms: int = 0,
        settings: SimulatorSettings | None = None,
    ) -> None:
        self.world = world
        self.start_ms = start_ms - start_ms % MINUTE_MS
        self.end_ms = end_ms or _LONG_AFTER
        self.settings = settings or SimulatorSettings()
        self._now_ms = now_ms
        self._sleep_until_ms = sleep_until_ms
        self._lock = threading.Lock()
        self._players = Players.stationary_at(world, self.start_ms)
        self._players.begin_reporting()
        self._faults = Faults(faults, self._players)
        self._recorder = TruthRecorder(world, faults, self.settings.cubes)
        self._writer = EnvelopeWriter(world, self.settings.events_per_request)
        self._mischief = Mischief(self.settings.mischief, world.seed)
        self._acked_once: set[int] = set()
        self._sender = Sender(url, now_ms, self._acked, self.settings.sender, world.seed)

    async def run(self, stop: asyncio.Event) -> dict[str, Any]:
        """Play and send until `stop` is set or `end_ms` is reached, then deliver what waits; returns the truth."""
        stopped = asyncio.ensure_future(stop.wait())
        try:
            async with self._sender:
                while not stopped.done() and self._players.now_ms < self.end_ms:
                    until_ms = self._next_stop_ms()
                    sleeping = asyncio.ensure_future(self._sleep_until_ms(until_ms))
                    await asyncio.wait([sleeping, stopped], return_when=asyncio.FIRST_COMPLETED)
                    if not sleeping.done():
                        sleeping.cancel()
                        break
                    await sleeping
                    await self._send_step(until_ms)
                for envelope in self._mischief.due(_LONG_AFTER):
                    await self._sender.put(envelope)
                delivered = await self._sender.flush(self.settings.flush_timeout_s)
        finally:
            stopped.cancel()
        return self.truth(delivered=delivered)

    def drain(self, cdn: str, device: str | None = None, share: float = 1.0) -> int:
        """Take `share` of a CDN's viewers (of one device class, None all) to the others; returns how many move now.

        Raises `InputError` for a CDN or device that the service does not have.
        """
        cdn_code = self.world.code_of("cdn", cdn)
        device_code = -1 if device is None else self.world.code_of("device", device)
        with self._lock:
            moved = self._players.drain(cdn_code, device_code, share)
            self._recorder.drained(self._players.now_ms, cdn, device, share, moved)
        return moved

    def viewers(self, cdn: str, device: str | None = None) -> int:
        """Sessions on a CDN now, of one device class or of all; raises `InputError` as `drain`."""
        cdn_code = self.world.code_of("cdn", cdn)
        device_code = -1 if device is None else self.world.code_of("device", device)
        with self._lock:
            return self._players.watching(cdn_code, device_code)

    def status(self) -> dict[str, Any]:
        """Where the simulation stands: virtual time, viewers, counts of the sender."""
        with self._lock:
            return {
                "now_ms": self._players.now_ms,
                "watching": self._players.watching(),
                "issued": self._recorder.issued,
                "sent": self._sent(),
            }

    def truth(self, *, delivered: bool = True) -> dict[str, Any]:
        """The truth so far; `delivered` False where heartbeats were still on their way."""
        with self._lock:
            sent = {**self._sent(), "delivered": delivered}
            return self._recorder.truth(self.start_ms, self._players.now_ms, sent)

    def _sent(self) -> dict[str, Any]:
        stats = self._sender.stats
        return {
            "acked": stats.acked,
            "refused": {str(status): events for status, events in stats.refused.items() if events},
            "abandoned": stats.abandoned,
            "requests": stats.requests,
            "retries": stats.retries,
            "twice": self._mischief.twice,
            "late": self._mischief.late,
        }

    def _next_stop_ms(self) -> int:
        """End of the next step: longer ones while the simulation is behind the clock."""
        now_ms = self._players.now_ms
        behind = self._now_ms() - now_ms >= 2 * CATCH_UP_MS
        step_ms = max(self.settings.step_ms, CATCH_UP_MS) if behind else self.settings.step_ms
        return min(now_ms + step_ms, self.end_ms)

    async def _send_step(self, until_ms: int) -> None:
        with self._lock:
            rows = [part.copy() for part in self._faults.advance(until_ms)]
            for part in rows:
                self._recorder.played(part)
        outgoing = self._mischief.due(until_ms)
        for part in rows:
            for envelope in self._writer.envelopes(part):
                outgoing += self._mischief.pass_on(envelope, until_ms)
        for envelope in outgoing:
            await self._sender.put(envelope)

    def _acked(self, envelope: Envelope) -> None:
        """Count an acknowledged envelope once, however often it was sent."""
        if self.settings.mischief.twice_share > 0:
            if envelope.ordinal in self._acked_once:
                return
            self._acked_once.add(envelope.ordinal)
        self._recorder.ledger.add(envelope.rows)
