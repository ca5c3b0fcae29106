"""What the tests of the simulator share: a small world, and its heartbeats over some minutes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from player_sim import layout
from player_sim.audience import MINUTE_MS, World, WorldConfig
from player_sim.faults import Fault
from player_sim.influence import Faults
from player_sim.layout import Records
from player_sim.player import Players

AT_MS = 1_790_000_040_000
"""A whole minute, the seam of most tests."""


def small_world(seed: int = 1, viewers: float = 150.0) -> World:
    """Few viewers, all kinds of everything."""
    return World(WorldConfig(seed=seed, viewers=viewers, titles=12))


def heartbeats(
    world: World, minutes: float, faults: Sequence[Fault] = (), at_ms: int = AT_MS, step_ms: int = MINUTE_MS
) -> Records:
    """The heartbeats of [at_ms, at_ms + minutes) in order of session and time."""
    players = Players.stationary_at(world, at_ms)
    played = Faults(faults, players)
    end_ms = at_ms + int(minutes * MINUTE_MS)
    stops = [min(until_ms, end_ms) for until_ms in range(at_ms + step_ms, end_ms + step_ms, step_ms)]
    rows = kept(rows for until_ms in stops for rows in played.advance(until_ms))
    return rows[np.lexsort((rows["seq"], rows["sid"]))]


def kept(played: Iterable[Records]) -> Records:
    """All heartbeats of `Players.advance`, copied."""
    return layout.joined([rows.copy() for rows in played], layout.HEARTBEAT)
