"""The demonstration, run as a person runs it: what it reports is what its simulator's truth file says was broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SEEDS = (1, 2, 3, 4, 5)
TIMEOUT_S = 900
JAPANESE = [["premiere-01", "ja", "backdrop"], ["premiere-01", "ja", "logo"], ["premiere-01", "ja", "poster"]]


def run(folder: Path, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(report, truth) of one demonstration."""
    command = [sys.executable, "-m", "tocsin.cli", "demo", "--no-browser", "--exit", "--json"]
    done = subprocess.run(
        [*command, "--seed", str(seed), "--folder", str(folder)],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1]), json.loads((folder / "truth.json").read_bytes())


def faults_by_kind(truth: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The truth file's faults."""
    return {fault["fault"]: fault for fault in truth["faults"]}


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_report_is_the_truth(seed: int, tmp_path: Path) -> None:
    """Each fault is told once, with its exact cohort and soon; nothing else is; nothing is lost."""
    report, truth = run(tmp_path / "demo", seed)
    faults = faults_by_kind(truth)
    incidents = report["incidents"]
    assert report["false_pages"] == 0, incidents

    (stall,) = [i for i in incidents if i["rule"] == "rebuffering"]
    assert stall["cohort"] == faults["cohort_stall"]["cohort"]
    begin_s = (faults["cohort_stall"]["start_ms"] - truth["start_ms"]) / 1000
    assert 0 < stall["opened_s"] - begin_s <= 180
    assert stall["state"] == "closed"
    assert stall["closed_s"] > (faults["cohort_stall"]["healed_ms"] - truth["start_ms"]) / 1000
    assert 0 < stall["sessions"] <= faults["cohort_stall"]["affected_sessions"]

    (freeze,) = [i for i in incidents if i["rule"] == "freeze"]
    stream = faults["frozen_rendition"]["cohort"]["stream"]
    assert freeze["cohort"] in ({"stream": stream}, {"title": stream.rsplit("-", 1)[0]})
    verdicts = {(v["stream"], v["reason"], v["detector"], v["verdict"]) for v in report["verdicts"]}
    assert (stream, "flagged", "gaps", "confirmed") in verdicts
    baked = faults["baked_freeze"]["cohort"]["stream"]
    assert (baked, "sampled", "freeze", "confirmed") in verdicts
    assert {v[0] for v in verdicts if v[3] == "confirmed"} == {stream, baked}

    assert sorted(report["artwork"]["missing"]) == JAPANESE
    (drained,) = truth["remediations"]
    assert {"cdn": drained["cdn"], "device": drained["device"]} == stall["cohort"]
    assert report["remediation"]["outcome"]["status"] == 200
    assert report["ledger"] == {"balanced": True, "lost": 0, "double": 0, "acked": truth["sent"]["acked"]}
    assert truth["sent"]["acked"] == truth["sent"]["issued"]
    assert (tmp_path / "demo" / "week-over-week.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A folder that no demonstration made is refused, and nothing in it is touched."""
    (tmp_path / "precious.txt").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-m", "tocsin.cli", "demo", "--exit", "--no-browser", "--folder", str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "choose another with --folder" in done.stderr
    assert (tmp_path / "precious.txt").read_text() == "mine"
