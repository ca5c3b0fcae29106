"""`tocsin simulate`: what it says it sent is what a real gateway has; SIGTERM drains; faults are read from a word."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ingest.settings import IngestSettings, WriteKey
from player_sim.audience import World, WorldConfig
from player_sim.fault_text import parse
from player_sim.faults import Cohort
from player_sim.faults.cohort_stall import CohortStall
from player_sim.faults.premiere import Premiere
from tests import cli_support
from tests.ingest_support import serving
from tocsin.app.dev.process import wait_until
from tocsin.model.errors import InputError

MINUTE_MS = 60_000
WORLD = World(WorldConfig(seed=1, viewers=50.0))


def now_ms() -> int:
    """Real time, as the command has it."""
    return time.time_ns() // 1_000_000


def test_the_truth_is_what_the_gateway_has(tmp_path: Path) -> None:
    """The truth file counts exactly the heartbeats in the log; faults are in it with their cohort."""
    with serving(tmp_path, now_ms=now_ms) as gateway:
        done = cli_support.run(
            "simulate", "--url", gateway.url, "--viewers", "300", "--minutes", "0.05", "--truth", "truth.json",
            "--fault", "stall:cdn=cdn-b,device=tv", "--json", cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        stored = gateway.heartbeats()
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert stored is not None
    assert truth["sent"]["acked"] == truth["sent"]["issued"] == len(stored) > 0
    assert truth["cubes"]["all"][0]["heartbeats"] == len(stored)
    assert truth["faults"][0]["cohort"] == {"cdn": "cdn-b", "device": "tv"}
    assert json.loads(done.stdout)["sent"] == truth["sent"]


def test_sigterm_delivers_and_writes_the_truth(tmp_path: Path) -> None:
    """Without an end it plays until told; what it had made by then is delivered, and it ends with status 0."""
    with serving(tmp_path, now_ms=now_ms) as gateway:
        process = subprocess.Popen(
            cli_support.command("simulate", "--url", gateway.url, "--viewers", "300", "--truth", "truth.json"),
            cwd=tmp_path, env=cli_support.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            wait_until(lambda: gateway.heartbeats() is not None, "the first heartbeat", 60)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 0, err
        stored = gateway.heartbeats()
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert stored is not None
    assert truth["sent"]["delivered"]
    assert truth["sent"]["acked"] == len(stored)
    assert "truth.json written" in out


def test_a_refused_key_is_said(tmp_path: Path) -> None:
    """Heartbeats that the gateway refuses are counted by status, and the command fails."""
    settings = IngestSettings(keys=(WriteKey("right", "player"),))
    with serving(tmp_path, settings, now_ms=now_ms) as gateway:
        asked = ("simulate", "--url", gateway.url, "--viewers", "300", "--minutes", "0.02", "--key", "wrong")
        done = cli_support.run(*asked, cwd=tmp_path)
    assert done.returncode == 1
    assert "were refused or given up ({'401': " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--url", cli_support.NOBODY), 1, "is `tocsin up` running?"),
        (("--url", "localhost"), 2, "give --url as http://HOST:PORT"),
        (("--history",), 2, "can be none"),
        (("--fault", "stall:cdm=x"), 2, "did you mean 'cdn'?"),
        (("--fault", "flood"), 2, "none of av_drift"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: tuple[str, ...], status: int, message: str, tmp_path: Path) -> None:
    """Before anything is sent, with the remedy."""
    done = cli_support.run("simulate", *arguments, cwd=tmp_path)
    assert done.returncode == status
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_fault_is_read_from_its_word() -> None:
    """Tags make the cohort, times count from the start, numbers are the kind's own."""
    fault = parse("stall:cdn=cdn-b,device=tv,from=2m,for=90s,ramp=30s,factor=12", WORLD, 1_000, 10 * MINUTE_MS)
    assert isinstance(fault, CohortStall)
    assert fault.cohort == Cohort.of(cdn="cdn-b", device="tv")
    assert (fault.start_ms, fault.end_ms, fault.ramp_ms) == (121_000, 211_000, 30_000)
    assert fault.factor == 12.0


def test_a_fault_without_times_lasts_the_whole_run() -> None:
    """It is on from the start to the end, for everybody."""
    fault = parse("premiere", WORLD, 1_000, 2_000)
    assert isinstance(fault, Premiere)
    assert (fault.start_ms, fault.end_ms, fault.cohort) == (1_000, 2_000, Cohort())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is none of"),
        ("s", "nor a part of just one"),
        ("stall:cdn", "is no KEY=VALUE"),
        ("stall:cdn=cdn-z", "known are cdn-a, cdn-b, cdn-c"),
        ("stall:factr=3", "did you mean 'factor'"),
        ("stall:factor=big", "factor = 'big' is no number"),
        ("stall:for=5", "give 30s, 5m or 1h"),
        ("stall:from=20m", "it would end before it begins"),
    ],
)
def test_a_bad_fault_names_the_part(text: str, message: str) -> None:
    """The error says which part cannot be used and what is known."""
    with pytest.raises(InputError, match=message):
        parse(text, WORLD, 0, 10 * MINUTE_MS)
