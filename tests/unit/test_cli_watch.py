"""`tocsin watch`: how a heartbeat reads, and when a playback has ended; it runs in tests/e2e/test_analysts.py."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.cli.watch import ended_after, line


def heartbeat(**fields: Any) -> dict[str, Any]:
    """One that says little."""
    shared = {"row_kind": "unique", "ts_ms": 1_000, "append_ms": 2_000, "seq": 3, "state": "playing", "tags": {}}
    return {**shared, **fields}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"playing_ms": 9_200, "rebuffer_ms": 800}, "00:00:01Z     3 playing      9.2 s playing, 0.8 s stalled"),
        ({"startup_ms": 1_500}, "00:00:01Z     3 playing      first frame after 1.5 s"),
        ({"shift_ms": 60_000}, "00:01:01Z     3 playing      clock set right by +60.0 s"),
        ({"row_kind": "late"}, "00:00:01Z     3 playing      too late to count"),
        ({"tags": {"error": "E1"}, "outcome": "failed"}, "00:00:01Z     3 playing      error E1, ended: failed"),
        ({"row_kind": "timeout"}, "00:00:02Z       silent for too long: ended"),
        ({"row_kind": "resumed"}, "00:00:02Z       back: goes on"),
    ],
)
def test_a_heartbeat_is_a_line(fields: dict[str, Any], text: str) -> None:
    """When, which, in what state, where its time went, and what was set right."""
    assert line(heartbeat(**fields)) == text


def test_a_playback_that_comes_back_has_not_ended() -> None:
    """An outcome or silence ends it; a heartbeat after silence takes that back."""
    assert not ended_after(heartbeat(), ended=False)
    assert ended_after(heartbeat(outcome="completed"), ended=False)
    assert ended_after(heartbeat(row_kind="timeout"), ended=False)
    assert not ended_after(heartbeat(row_kind="resumed"), ended=True)
    assert ended_after(heartbeat(row_kind="late"), ended=True)
