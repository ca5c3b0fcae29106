"""Buckets: cut by append time against the previous message only, at edges the store knows, and by size."""

from __future__ import annotations

import pytest

from streaming_jobs.steps.bucketing import Bucket, Bucketer, Message


def _cut(bucketer: Bucketer, messages: list[tuple[int, int]], size: int = 10) -> list[tuple[int, int]]:
    closed = [bucketer.push(Message(offset, append_ms, b"x" * size)) for offset, append_ms in messages]
    return [(bucket.start_offset, bucket.end_offset) for bucket in closed if bucket is not None]


def test_a_bucket_ends_where_the_append_time_enters_another_span() -> None:
    """append_ms // B of neighbours decides; the last bucket stays open."""
    messages = [(0, 1_000), (1, 4_999), (2, 5_000), (3, 9_000), (4, 31_000), (5, 32_000)]
    assert _cut(Bucketer(5_000, 1_000), messages) == [(0, 2), (2, 4)]


def test_a_clock_that_steps_back_cuts_too() -> None:
    """No running maximum: going back into an earlier span is a new bucket, and so is coming forward again."""
    assert _cut(Bucketer(5_000, 1_000), [(0, 6_000), (1, 4_000), (2, 6_000), (3, 20_000)]) == [(0, 1), (1, 2), (2, 3)]


def test_a_replay_from_any_neighbour_cuts_in_the_same_places() -> None:
    """Started one message before a cut, or anywhere earlier, the later buckets are the same."""
    messages = [(offset, 700 * offset) for offset in range(60)]
    whole = _cut(Bucketer(5_000, 1_000), messages)
    for start in range(30):
        later = [bucket for bucket in whole if bucket[0] > start]
        assert len(later) >= 3
        assert _cut(Bucketer(5_000, 1_000), messages[start:])[-len(later) :] == later


def test_edges_that_the_store_knows_are_cuts() -> None:
    """Counting resumes exactly at an offset, and stops at a bucket that is stored already."""
    bucketer = Bucketer(5_000, 1_000)
    bucketer.resume(2, [4])
    assert _cut(bucketer, [(offset, 100) for offset in range(6)]) == [(0, 2), (2, 4)]


def test_offsets_that_the_log_skips_belong_to_a_bucket() -> None:
    """Markers of the log's own leave holes; intervals still touch."""
    bucketer = Bucketer(5_000, 1_000)
    bucketer.resume(3)
    assert _cut(bucketer, [(5, 100), (9, 6_000), (12, 12_000)]) == [(3, 6), (6, 10)]


def test_a_bucket_ends_early_where_its_bytes_would_pass_the_limit() -> None:
    """Memory is bounded, whatever comes in five seconds."""
    assert _cut(Bucketer(5_000, 25), [(offset, 100) for offset in range(5)]) == [(0, 2), (2, 4)]


def test_offsets_must_rise() -> None:
    """A reader that delivers twice is a defect of the runner, not counted silently."""
    bucketer = Bucketer(5_000, 1_000)
    bucketer.push(Message(7, 0, b""))
    with pytest.raises(ValueError, match="offset 7 after 7"):
        bucketer.push(Message(7, 0, b""))


def test_a_bucket_of_ticks_is_idle() -> None:
    """Only ticks: nothing waits to be closed."""
    assert Bucket(0, [Message(0, 0, b"TCT1")]).idle
    assert not Bucket(0, [Message(0, 0, b"TCT1"), Message(1, 0, b"TCH1")]).idle
