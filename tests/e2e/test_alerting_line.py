"""Whole runs of a simulated service through chdb: one incident a cause, found fast, localised; silence where quiet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def run(scenario: str, seed: int, folder: Path) -> dict[str, Any]:
    """One scenario in a process of its own (a process can open one chdb path)."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.e2e.alerting_line", scenario, str(seed), str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(900)
def test_two_causes_are_two_incidents(tmp_path: Path) -> None:
    """A CDN × device cohort stalls while one stream freezes: two incidents, two pages, both closed when it is over."""
    found = run("both", 1, tmp_path)
    incidents = {incident["rule"]: incident for incident in found["incidents"]}
    assert {rule: incident["cohort"] for rule, incident in incidents.items()} == {
        "rebuffering": {"cdn": "b", "device": "tv"},
        "freeze": {"stream": "s05"},
    }
    assert all(after <= 90_000 for after in found["opened_after_ms"].values())
    assert all(incident["state"] == "closed" for incident in incidents.values())
    changes = [(page["rule"], page["change"]) for page in found["pages"] if page["change"] != "update"]
    assert sorted(changes) == sorted((rule, change) for rule in incidents for change in ("opened", "resolved"))
    assert ["freeze", ["s05"]] in found["flags"]
    stalls = next(page for page in found["pages"] if page["rule"] == "rebuffering" and page["change"] == "resolved")
    assert stalls["baseline"]["low"] <= stalls["baseline"]["value"] <= stalls["baseline"]["high"] < stalls["value"]
    assert len(stalls["sample_sessions"]) == 3
    assert stalls["counterfactual"].startswith("Without cdn=b device=tv it is 0.")
    assert stalls["hint"] == {"avoid_cdn": "b"}


@pytest.mark.timeout(900)
def test_a_drained_cohort_closes(tmp_path: Path) -> None:
    """Viewers are steered away: nobody is left in the cohort, everyone else is well, so it closes and says why."""
    found = run("drained", 2, tmp_path)
    assert [(i["rule"], i["cohort"], i["state"]) for i in found["incidents"]] == [
        ("rebuffering", {"cdn": "b", "device": "tv"}, "closed")
    ]
    assert "no sessions" in found["incidents"][0]["close_reason"]


@pytest.mark.timeout(900)
def test_without_history_the_fixed_limits_page(tmp_path: Path) -> None:
    """On the first evening the same trouble pages too, and the page says that there is no history yet."""
    found = run("no_history", 3, tmp_path)
    assert [incident["cohort"] for incident in found["incidents"]] == [{"cdn": "b", "device": "tv"}]
    assert found["pages"][0]["history"] == "no history yet"
    assert "no history yet" in found["pages"][0]["text"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [4, 5])
def test_nothing_pages_where_nothing_is_wrong(seed: int, tmp_path: Path) -> None:
    """A wobbling, overdispersed, quiet evening over the seam from history to live: no incident at all."""
    assert run("quiet", seed, tmp_path)["incidents"] == []
