"""What happens in a demonstration, drawn from its seed: who stalls, which streams break, which artwork is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from player_sim.artwork import KINDS, Launch
from player_sim.audience import World, WorldConfig
from player_sim.clips import Freeze, Gap, StreamSpec
from player_sim.faults.baked_freeze import BakedFreeze
from player_sim.faults.cohort_stall import CohortStall
from player_sim.faults.frozen_rendition import FrozenRendition
from player_sim.faults.kinds import Cohort, Fault

MINUTE_MS = 60_000
DAY_MS = 86_400_000
LEAD_IN_MS = 30 * MINUTE_MS
"""Live audience before anything goes wrong: what came before it is drawn history."""
FREEZE_AFTER_MS = 1 * MINUTE_MS
LIVE_MS = 52 * MINUTE_MS
GAP_AT_S, GAP_LENGTH_S = 20.0, 4.0
BAKED_AT_S, BAKED_LENGTH_S = 30.0, 12.0
LACKING_LANG = "ja"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One demonstration; times in epoch ms of the demonstration's clock."""

    seed: int
    world: World
    start_ms: int
    faults: tuple[Fault, ...]
    stall: dict[str, str]
    gap_stream: str
    baked_stream: str
    healthy_stream: str
    launches: tuple[Launch, ...]
    lacking: frozenset[tuple[str, str, str]]

    @property
    def fault_ms(self) -> int:
        """When the first fault begins."""
        return self.start_ms + LEAD_IN_MS

    @property
    def gap_ms(self) -> int:
        """When the rendition loses its picture."""
        return self.fault_ms + FREEZE_AFTER_MS

    def broken(self) -> StreamSpec:
        """The first channel as it is once a rendition lacks picture."""
        return StreamSpec(self.gap_stream, self.seed, defects=(Gap(GAP_AT_S, GAP_LENGTH_S),))

    def media(self) -> Sequence[StreamSpec]:
        """The three channels as they are at the start."""
        return (
            StreamSpec(self.gap_stream, self.seed),
            StreamSpec(self.baked_stream, self.seed + 1, defects=(Freeze(BAKED_AT_S, BAKED_LENGTH_S),)),
            StreamSpec(self.healthy_stream, self.seed + 2),
        )

    def explains(self, incident: dict[str, Any]) -> bool:
        """Whether a page tells of something that was really broken, and names it exactly."""
        cohort = incident["cohort"]
        if incident["rule"] == "rebuffering":
            return bool(cohort == self.stall)
        if incident["rule"] == "freeze":
            title = self.gap_stream.rsplit("-", 1)[0]
            return cohort in ({"stream": self.gap_stream}, {"title": title})
        if incident["rule"] == "artwork-missing":
            return bool(cohort == {"title": next(iter(self.lacking))[0]})
        if incident["rule"] == "probe-defect":
            return cohort.get("stream") in (self.gap_stream, self.baked_stream)
        return False


def draw(seed: int, start_ms: int) -> Scenario:
    """The scenario of a seed; the same seed breaks the same things."""
    world = World(WorldConfig(seed=seed))
    rng = np.random.default_rng([seed, 0x64656D6F])
    channels = [
        stream
        for stream, title in zip(world.streams, world.stream_title.tolist(), strict=True)
        if world.kinds[title] == "channel"
    ]
    gap_stream, baked_stream, healthy_stream = channels[0], *(str(s) for s in rng.permutation(channels[1:3]))
    stall = {"cdn": str(rng.choice(world.cdns[:2])), "device": str(rng.choice(world.devices[:2]))}
    start_ms -= start_ms % MINUTE_MS
    fault_ms, end_ms = start_ms + LEAD_IN_MS, start_ms + LIVE_MS + DAY_MS
    faults: tuple[Fault, ...] = (
        CohortStall(cohort=Cohort.of(**stall), start_ms=fault_ms, end_ms=end_ms),
        FrozenRendition(
            cohort=Cohort.of(stream=gap_stream),
            start_ms=fault_ms + FREEZE_AFTER_MS,
            end_ms=end_ms,
            at_ms=int(GAP_AT_S * 1000),
            length_ms=int(GAP_LENGTH_S * 1000),
        ),
        BakedFreeze(
            cohort=Cohort.of(stream=baked_stream),
            start_ms=start_ms,
            end_ms=end_ms,
            at_ms=int(BAKED_AT_S * 1000),
            length_ms=int(BAKED_LENGTH_S * 1000),
        ),
    )
    launches = tuple(
        Launch(f"premiere-{number:02d}", start_ms + int(days * DAY_MS))
        for number, days in enumerate((3.0, 5.5, 20.0, 45.0), 1)
    )
    lacking = frozenset((launches[0].title, LACKING_LANG, kind) for kind in KINDS)
    return Scenario(seed, world, start_ms, faults, stall, gap_stream, baked_stream, healthy_stream, launches, lacking)
