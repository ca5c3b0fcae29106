"""Applies the faults that are on to the players, and knows when the next one begins or ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from player_sim import layout
from player_sim.audience import Boost
from player_sim.faults.kinds import Fault
from player_sim.layout import Records
from player_sim.player import Players


class Faults:
    """The faults of one run. `advance` is `Players.advance`, cut where a fault begins or ends."""

    def __init__(self, faults: Sequence[Fault], players: Players) -> None:
        self._faults = tuple(faults)
        self._players = players
        self._edges = sorted({edge for fault in faults for edge in (fault.start_ms, fault.end_ms)})

    def advance(self, until_ms: int) -> Iterator[Records]:
        """Play up to `until_ms`, yielding heartbeats as `Players.advance` does."""
        while self._players.now_ms < until_ms:
            now_ms = self._players.now_ms
            end_ms = min([edge for edge in self._edges if now_ms < edge < until_ms], default=until_ms)
            self._set_streams_and_plays(now_ms)
            yield from self._players.advance(end_ms, self._influence)

    def _set_streams_and_plays(self, now_ms: int) -> None:
        world = self._players.world
        active = [fault for fault in self._faults if fault.active(now_ms)]
        freezes = np.zeros(len(world.streams), layout.FREEZE)
        boosts = []
        for fault in active:
            frozen = fault.freeze()
            if frozen is not None:
                freezes[world.code_of("stream", frozen.stream)] = (frozen.at_ms, frozen.length_ms, frozen.rung)
            boost = fault.boost()
            if boost is not None:
                boosts.append(Boost(boost[0], world.code_of("title", boost[1]) if boost[1] else -1))
        self._players.freezes = freezes
        self._players.boosts = tuple(boosts)

    def _influence(self, sessions: Records, modifiers: Records, now_ms: int) -> None:
        for fault in self._faults:
            if fault.active(now_ms):
                hit = fault.cohort.mask(self._players.world, sessions)
                fault.change(modifiers, hit, fault.strength(now_ms))
