"""Every result is a pure function of the log: counted again, or in two goes, it gives the same store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import line

pytestmark = pytest.mark.timeout(600)
SEED = 5
CUT_SEEDS = (101, 102, 103)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 minutes of a seeded audience: duplicates, late and future heartbeats, silent sessions, poison, ticks."""
    path = tmp_path_factory.mktemp("replay") / "log.db"
    line.run_embedded("fill", str(SEED), str(path))
    return path


@pytest.fixture(scope="module")
def once(log: Path) -> dict[str, Any]:
    """The digest of a store that counted the log in one go."""
    return digest(log, "once")


def digest(log: Path, name: str, *cut: str) -> dict[str, Any]:
    """The digest of a new store."""
    found: dict[str, Any] = json.loads(line.run_embedded("digest", str(log), str(log.with_name(name)), *cut))
    return found


def test_the_log_holds_what_makes_replay_hard(once: dict[str, Any]) -> None:
    """Every table but series has rows, and sessions timed out: otherwise equal digests would say little."""
    print("\n" + json.dumps(once))
    assert once["deltas"][0] > 0
    assert once["heartbeats"][0] > 0
    assert once["quarantine"][0] > 0
    assert once["timeouts"] > 0


def test_counting_the_log_twice_gives_one_digest(log: Path, once: dict[str, Any]) -> None:
    """A second store from the same log has the same rows."""
    assert digest(log, "twice") == once


@pytest.mark.parametrize("cut_seed", CUT_SEEDS)
def test_stopping_at_a_random_offset_and_going_on_gives_the_same_digest(
    log: Path, once: dict[str, Any], cut_seed: int
) -> None:
    """A new job that re-reads the horizon and goes on from the ledger's end stores what an unbroken one does."""
    assert digest(log, f"cut-{cut_seed}", str(cut_seed)) == once
