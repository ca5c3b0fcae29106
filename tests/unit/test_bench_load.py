"""The load of the line's benchmark is what players send: valid, and no heartbeat twice."""

from __future__ import annotations

from benchmarks.line_load import HEARTBEATS, ROUNDS_OF_A_SESSION, groups
from ingest.formats import heartbeat
from ingest.settings import PUBLIC_LIMITS
from tocsin.model.heartbeat import OUTCOMES

NOW_MS = 1_800_000_000_000


def test_every_request_is_taken_whole_and_no_heartbeat_comes_twice() -> None:
    """Over more than a session's life, starts and ends included, each (session, seq) is new and follows the schema."""
    seen: set[tuple[str, int]] = set()
    starts = ends = 0
    for group in groups(3, seed=1):
        for number in range(ROUNDS_OF_A_SESSION + 2):
            parsed = heartbeat.parse(group.body(number, NOW_MS + number), PUBLIC_LIMITS, False)
            assert (parsed.total, parsed.refused) == (HEARTBEATS, [])
            (rows,) = [part.rows for part in parsed.parts]
            starts += int((rows.column("startup_ms") >= 0).sum())
            ends += int((rows.column("outcome") == OUTCOMES.index("quit")).sum())
            keys = set(zip(rows.session_ids, rows.column("seq").tolist(), strict=True))
            assert len(keys) == HEARTBEATS
            assert not keys & seen
            seen |= keys
    assert min(starts, ends) >= 3 * HEARTBEATS


def test_the_audience_of_a_seed_is_always_the_same() -> None:
    """Two runs of the benchmark send the same tags and measures."""
    first, second = groups(5, seed=2), groups(5, seed=2)
    assert [one.body(7, NOW_MS) for one in first] == [one.body(7, NOW_MS) for one in second]
    assert len({one.tags for one in first}) > 1
