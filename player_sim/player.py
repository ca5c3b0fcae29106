"""All players of the audience: who is watching now, advanced together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from player_sim import layout, machine
from player_sim.audience import LADDER_KBPS, MINUTE_MS, STAY_MS_MAX, Boost, World
from player_sim.layout import Records
from tocsin.model.heartbeat import SEQ_PER_MINUTE_MAX

SWITCH_SPREAD_MS = 8_000
"""Players change CDN with their next segments, not all at once."""
_ROWS = 8_192
_ROOM = SEQ_PER_MINUTE_MAX + 8
"""The most heartbeats of one session in a minute, and some."""


Influence = Callable[[Records, Records, int], None]
"""Changes the modifiers (second, shape (n,)) of sessions (first) for the minute or step that begins at an epoch ms."""


class Players:
    """The sessions of a world from `start_ms` on; `now_ms` is how far they have played.

    Starts empty: `warm_up` makes the audience stationary. All times are epoch ms.
    """

    def __init__(self, world: World, start_ms: int) -> None:
        self.world = world
        self.now_ms = start_ms - start_ms % MINUTE_MS
        self.sessions: Records = np.zeros(0, layout.SESSION)
        """In no order; those that are OVER are free places."""
        self.freezes: Records = np.zeros(len(world.streams), layout.FREEZE)
        self.boosts: tuple[Boost, ...] = ()
        self._minute = self.now_ms // MINUTE_MS - 1
        self._rows = 0
        self._ladder = np.array(LADDER_KBPS, np.int64)
        self._out: Records = np.zeros(_ROWS, layout.HEARTBEAT)
        self._drained: dict[tuple[int, int], float] = {}
        self.silenced: Records = np.zeros(0, layout.SESSION)
        """Sessions that were killed during the last whole minute played: they ended without a word."""

    @classmethod
    def stationary_at(cls, world: World, at_ms: int) -> Players:
        """The audience as it is at `at_ms` (a whole minute), after playing for longer than anybody stays."""
        players = cls(world, at_ms - STAY_MS_MAX)
        for _ in players.advance(at_ms):
            pass
        return players

    def advance(self, until_ms: int, influence: Influence | None = None) -> Iterator[Records]:
        """Play up to `until_ms`; yields heartbeats (`layout.HEARTBEAT`), by session and time, once a minute begun.

        A yielded array is valid until the next one: copy what is kept. Weather changes by the minute, so time is cut
        there.
        """
        while self.now_ms < until_ms:
            end_ms = min(until_ms, (self.now_ms // MINUTE_MS + 1) * MINUTE_MS)
            self._admit(self.now_ms // MINUTE_MS)
            modifiers = layout.neutral_modifiers(len(self.sessions))
            modifiers["stall_rate"] = self.world.weather(self.now_ms // MINUTE_MS)[self.sessions["isp"]]
            if influence is not None:
                influence(self.sessions, modifiers, self.now_ms)
            count = self._play(modifiers, end_ms)
            self.now_ms = end_ms
            if count:
                yield self._out[:count]

    def _play(self, modifiers: Records, end_ms: int) -> int:
        """Let everybody play up to `end_ms`; returns how many heartbeats `_out` holds, which grows as needed."""
        first, count = 0, 0
        while True:
            first, count = machine.advance(
                self.sessions, modifiers, self.freezes, self._ladder, end_ms, self._out, first, count, _ROOM
            )
            if first == len(self.sessions):
                return count
            self._out = layout.joined([self._out, np.zeros(len(self._out), layout.HEARTBEAT)], layout.HEARTBEAT)

    def watching(self, cdn: int = -1, device: int = -1) -> int:
        """Sessions that have begun and not ended, of one CDN and device or of all (-1)."""
        sessions = self.sessions
        mask = (sessions["state"] != layout.WAITING) & (sessions["state"] != layout.OVER)
        mask &= (cdn < 0) | (sessions["cdn"] == cdn)
        mask &= (device < 0) | (sessions["device"] == device)
        return int(np.count_nonzero(mask))

    def begin_reporting(self) -> None:
        """From here on somebody listens who heard nothing before: sessions that are on must not look like lost starts.

        Sequence numbers below 64 that come first are taken for the rest of a lost beginning; these sessions go past it.
        """
        on = (self.sessions["state"] != layout.WAITING) & (self.sessions["state"] != layout.OVER)
        self.sessions["seq"][on] += SEQ_PER_MINUTE_MAX

    def drain(self, cdn: int, device: int = -1, share: float = 1.0) -> int:
        """Take `share` of the sessions of a CDN (of one device, -1 all) to the other CDNs; returns how many moved.

        Later arrivals follow the same weights. `share` 0 gives the CDN back (sessions that moved stay where they are).
        """
        self._drained[cdn, device] = share
        return self._move(self.sessions, cdn, device, share, at_ms=self.now_ms)

    def _move(self, sessions: Records, cdn: int, device: int, share: float, at_ms: int) -> int:
        """Sessions that play change within seconds, sessions to come begin elsewhere; each by a hash of its own."""
        u = (sessions["sid"] % np.uint64(10_007)).astype(np.float64) / 10_007
        hit = (sessions["cdn"] == cdn) & (u < share) & (sessions["state"] != layout.OVER)
        if device >= 0:
            hit &= sessions["device"] == device
        closed = {index for (index, of), part in self._drained.items() if part >= 1 and of in (-1, device)}
        others = [index for index in range(len(self.world.cdns)) if index != cdn and index not in closed]
        if not others:
            return 0
        target = np.array(others)[(sessions["sid"] // np.uint64(10_007) % np.uint64(len(others))).astype(np.int64)]
        waiting = hit & (sessions["state"] == layout.WAITING)
        sessions["cdn"] = np.where(waiting, target, sessions["cdn"])
        playing = hit & ~waiting & (sessions["switch_ms"] > at_ms + SWITCH_SPREAD_MS)
        delay = (sessions["sid"] % np.uint64(SWITCH_SPREAD_MS)).astype(np.int64)
        sessions["switch_ms"] = np.where(playing, at_ms + delay, sessions["switch_ms"])
        sessions["switch_cdn"] = np.where(playing, target, sessions["switch_cdn"])
        return int(np.count_nonzero(waiting | playing))

    def _admit(self, minute: int) -> None:
        if minute <= self._minute:
            return
        self._minute = minute
        arrivals = self.world.arrivals(minute, self.boosts)
        arrivals["row"] = self._rows + np.arange(len(arrivals))
        self._rows += len(arrivals)
        for (cdn, device), share in self._drained.items():
            self._move(arrivals, cdn, device, share, at_ms=0)
        over = self.sessions["state"] == layout.OVER
        self.silenced = self.sessions[over & (self.sessions["silent"] == 1)]
        free = np.flatnonzero(over)
        if len(free) < len(arrivals):
            spare = np.zeros(len(arrivals) + len(self.sessions) // 4, layout.SESSION)
            spare["state"] = layout.OVER
            free = np.concatenate([free, len(self.sessions) + np.arange(len(spare))])
            self.sessions = layout.joined([self.sessions, spare], layout.SESSION)
        self.sessions["silent"][free] = 0
        self.sessions[free[: len(arrivals)]] = arrivals
