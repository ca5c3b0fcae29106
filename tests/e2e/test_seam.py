"""Nothing pages where drawn history ends and the live audience goes on; each seed is another hour of the week.

The suite takes seeds 1 to 6, which cost 2 minutes on two cores; `make seam` takes 1 to 20 in the demonstration's size,
and `TOCSIN_SEAM_SEEDS=60 TOCSIN_SEAM_MINUTES=120` looks further.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from player_sim.audience import WorldConfig
from tests.e2e.seam_run import Case

SEEDS = 6
QUIET_MINUTES = 35
STALLED_MINUTES = 3
SMALL_VIEWERS = 700
FULL_EVERY = 5
"""Every so many seeds one has the demonstration's size; the others are smaller, to spare time."""
PROCESSES = 2
SEED_TIMEOUT_S = 240.0


def cases() -> list[Case]:
    """The cases of this run; the suite's are fixed, a soak's are named by its environment."""
    seeds = int(os.environ.get("TOCSIN_SEAM_SEEDS", SEEDS))
    minutes = int(os.environ.get("TOCSIN_SEAM_MINUTES", QUIET_MINUTES))
    soak = (seeds, minutes) != (SEEDS, QUIET_MINUTES)
    full = int(WorldConfig().viewers)
    return [
        Case(seed, full if soak or seed % FULL_EVERY == 1 else SMALL_VIEWERS, minutes, STALLED_MINUTES)
        for seed in range(1, seeds + 1)
    ]


def run(chosen: list[Case], folder: Path) -> list[dict[str, Any]]:
    """What the cases led to; by `PROCESSES` programs at once."""
    root = Path(__file__).parents[2]
    minutes = sum(case.minutes for case in chosen) / PROCESSES
    running = []
    for number in range(PROCESSES):
        place = folder / str(number)
        place.mkdir()
        mine = ",".join(str(case) for case in chosen[number::PROCESSES])
        command = [sys.executable, "-m", "tests.e2e.seam_run", str(place), mine]
        with (place / "out").open("w") as out, (place / "err").open("w") as err:
            running.append((subprocess.Popen(command, cwd=root, stdout=out, stderr=err), place))
    try:
        for process, place in running:
            assert process.wait(SEED_TIMEOUT_S * minutes / QUIET_MINUTES) == 0, (place / "err").read_text()[-3_000:]
    finally:
        for process, _ in running:
            process.kill()
            process.wait()
    return [json.loads(line) for _, place in running for line in (place / "out").read_text().splitlines()]


def told(incident: dict[str, Any]) -> str:
    """An incident in a line, for the report of a failure."""
    return f"{incident['rule']} {incident['cohort']} {incident['evidence']}"


@pytest.mark.timeout(0)
def test_nothing_pages_at_the_seam_and_a_stall_after_it_does(tmp_path: Path) -> None:
    """For every seed: no incident of any shipped rule without a fault; then one CDN stalls, and that is noticed."""
    chosen = cases()
    found = run(chosen, tmp_path)
    assert sorted(one["seed"] for one in found) == [case.seed for case in chosen]
    assert {one["seed"]: [told(incident) for incident in one["before"]] for one in found if one["before"]} == {}
    assert {one["seed"]: one["troubles"] for one in found if one["troubles"]} == {}
    blind = [one["seed"] for one in found if "rebuffering" not in {incident["rule"] for incident in one["after"]}]
    assert blind == []
