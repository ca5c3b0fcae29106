"""The steps of counting one by one: what is late, what is a copy, what a session-minute adds, what was expected."""

from __future__ import annotations

import numpy as np
import pytest

from streaming_jobs.steps import histograms, lateness
from streaming_jobs.steps.dedup import Dedup
from streaming_jobs.steps.expected import Expected
from streaming_jobs.steps.horizon import Slots
from streaming_jobs.steps.interning import Rows, Sessions, Texts
from streaming_jobs.steps.session_minutes import WIDTH, SessionMinutes
from streaming_jobs.steps.settings import CountingSettings
from streaming_jobs.steps.stragglers import Stragglers
from streaming_jobs.steps.timeouts import Timeouts
from tocsin.model.catalogue import MOMENTS
from tocsin.model.errors import ConfigError
from tocsin.model.percentiles import bucket_of_ms

SETTINGS = CountingSettings()
L, F, W, S = SETTINGS.lateness_ms, SETTINGS.future_ms, SETTINGS.horizon_ms, SETTINGS.slack_ms
NOW = 30_000_000 * 60_000


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_lateness_and_future_are_judged_at_the_edge_by_append_time() -> None:
    """Exactly L old or F ahead is in time; a millisecond more is not."""
    event = _ints(NOW - L, NOW - L - 1, NOW + F, NOW + F + 1)
    kinds = lateness.classify(event, np.full(4, NOW), SETTINGS)
    assert kinds.tolist() == [lateness.IN_TIME, lateness.LATE, lateness.IN_TIME, lateness.FUTURE]


def test_a_timeout_beyond_the_horizon_is_refused() -> None:
    """State could not hold it."""
    with pytest.raises(ConfigError, match="time-out"):
        CountingSettings(lateness_ms=10_000, timeout_ms=200_000)


def _dedup(rows: list[tuple[int, int, int, int]], dedup: Dedup, slots: Slots, open_from: int = 0) -> list[bool]:
    """rows: (session, minute, sent minute, seq)."""
    sessions, minutes, sent, seqs = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    taken = slots.take(minutes)
    dedup.fit(16, slots.capacity)
    return dedup.unique(
        sessions, taken, minutes, sent, slots.find(sent), seqs, np.full(len(rows), open_from, np.int64)
    ).tolist()  # fmt: skip


def test_a_heartbeat_counts_once_by_session_seq_and_minute_as_sent() -> None:
    """The same seq in another minute or session is another heartbeat."""
    rows = [(1, 10, 10, 0), (1, 10, 10, 0), (1, 11, 11, 0), (2, 10, 10, 0), (1, 10, 10, 1), (1, 10, 10, 1)]
    assert _dedup(rows, Dedup(), Slots(SETTINGS)) == [True, False, True, True, True, False]


def test_copies_that_the_gateway_shifts_to_different_minutes_are_still_copies() -> None:
    """A retry of a device whose clock is off may land in the next minute, or unshifted in its own."""
    rows = [(1, 10, 130, 5), (1, 11, 130, 5), (1, 10, 130, 6), (1, 11, 11, 5), (1, 12, 11, 5)]
    assert _dedup(rows, Dedup(), Slots(SETTINGS)) == [True, False, True, True, False]


def test_copies_are_known_over_several_calls_and_forgotten_with_their_minute() -> None:
    """State carries over buckets, and a minute that is over takes its bitmaps along."""
    dedup, slots = Dedup(), Slots(SETTINGS)
    rows = [(1, 100, 100, 0), (2, 100, 55, 3)]
    assert _dedup(rows, dedup, slots) == [True, True]
    assert _dedup(rows, dedup, slots) == [False, False]
    clock = 101 * 60_000 + L + S + SETTINGS.bucket_ms
    assert slots.expired(clock - 1) == []
    dedup.expire(slots.expired(clock), slots.oldest(clock))
    assert _dedup(rows, dedup, slots) == [True, True]


def test_copies_in_minutes_that_are_closed_do_not_count_as_seen() -> None:
    """Exactly the minutes that are open by append time are looked at, though more may be in memory."""
    dedup, slots = Dedup(), Slots(SETTINGS)
    assert _dedup([(1, 100, 90, 0)], dedup, slots) == [True]
    assert _dedup([(1, 101, 90, 0)], dedup, slots, open_from=100) == [False]
    assert _dedup([(1, 102, 90, 0)], dedup, slots, open_from=101) == [True]


def test_a_late_heartbeat_is_kept_once_within_the_horizon() -> None:
    """A copy within W of the newest copy is none to keep; after that it is not known."""
    stragglers = Stragglers(SETTINGS)
    same = (["s"] * 4, _ints(1, 1, 1, 2), _ints(5, 5, 5, 5), _ints(NOW, NOW + W, NOW + 2 * W + 1, NOW))
    assert stragglers.unique(*same).tolist() == [True, False, True, True]
    stragglers.expire(NOW + 10 * W)
    assert len(stragglers) == 0


def _sums(**pairs: tuple[int, int]) -> np.ndarray:
    row = np.zeros((1, WIDTH), np.int64)
    for index, name in enumerate(MOMENTS):
        row[0, 2 * index : 2 * index + 2] = pairs.get(name, (0, 0))
    return row


def test_a_session_minute_adds_differences_of_squares() -> None:
    """x goes 0 → 3 → 10: ΣX² gets 9 and then 91; n and k count the unit once."""
    unit, at = SessionMinutes(), _ints(0)
    unit.fit(4, 4)
    column = 1 + 6 * list(MOMENTS).index("rebuffer")
    first = unit.add(at, at, at, at, _sums(rebuffer=(3, 100)))
    second = unit.add(at, at, at, at, _sums(rebuffer=(7, 50)))
    assert first.values[0, [0, *range(column, column + 6)]].tolist() == [1, 1, 3, 100, 9, 10_000, 300]
    assert second.values[0, [0, *range(column, column + 6)]].tolist() == [0, 0, 7, 50, 91, 12_500, 1_200]


def test_units_are_divided_before_they_are_squared() -> None:
    """Bits are squared in units of 100 kbit, taken of the sum and not of each heartbeat."""
    unit, at = SessionMinutes(), _ints(0)
    unit.fit(4, 4)
    column = 1 + 6 * list(MOMENTS).index("bitrate")
    totals = [unit.add(at, at, at, at, _sums(bitrate=(199, 150))).values[0, column : column + 6] for _ in range(2)]
    assert np.sum(totals, axis=0).tolist() == [1, 3, 3, 9, 9, 9]


def test_two_tag_sets_in_a_minute_are_two_units() -> None:
    """A CDN switch within a minute does not mix the CDNs' figures."""
    unit, at = SessionMinutes(), _ints(0, 0, 0)
    unit.fit(4, 4)
    sums = np.concatenate([_sums(rebuffer=(1, 2))] * 3)
    deltas = unit.add(at, at, at, _ints(7, 8, 7), sums)
    assert deltas.tag_sets.tolist() == [7, 8]
    assert deltas.values[:, 0].tolist() == [1, 1]


def test_expired_units_are_used_again() -> None:
    """Memory follows the open minutes."""
    unit, at = SessionMinutes(), _ints(0)
    unit.fit(4, 4)
    for _ in range(5_000):
        assert unit.add(at, at, at, at, _sums()).values[0, 0] == 1
        unit.expire([0])
    assert unit.tag_sets_used().size == 0


def _rises(expected: Expected, rows: list[tuple[int, int]], minutes: list[int], open_from: int = 0) -> list[int]:
    """rows: (slot, seq) of one session."""
    slots, seqs = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    expected.fit(4, len(minutes))
    n = len(rows)
    return expected.rises(
        np.zeros(n, np.int64), slots, seqs, np.full(n, open_from, np.int64), np.array(minutes, np.int64)
    ).tolist()  # fmt: skip


def test_expected_rises_with_the_largest_seq() -> None:
    """Gaps count as sent; what comes out of order adds nothing more."""
    assert _rises(Expected(), [(0, 0), (0, 1), (1, 4), (0, 2), (1, 5)], [100, 101]) == [1, 1, 3, 0, 1]


def test_expected_starts_at_the_first_seq_or_at_the_horizon() -> None:
    """Up to a minute's worth of seqs before the first is loss; more is a session from before the horizon."""
    assert _rises(Expected(), [(0, 63)], [100]) == [64]
    assert _rises(Expected(), [(0, 64)], [100]) == [1]


def test_expected_looks_at_open_minutes_only() -> None:
    """The largest seq of a minute that is closed is not remembered, so that a restart knows as much."""
    expected = Expected()
    assert _rises(expected, [(0, 9)], [100, 101]) == [10]
    assert _rises(expected, [(1, 12)], [100, 101], open_from=101) == [13]


def _observe(timeouts: Timeouts, rows: list[tuple[int, int, int]], open_from: int = 0) -> list[tuple[int, int]]:
    """rows: (append_ms, seq, outcome) of session 0 → (minute, sign) of what came back."""
    append, seqs, outcomes = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    zeros, ones = np.zeros(len(rows), np.int64), np.ones(len(rows), np.int64)
    timeouts.fit(2)
    back = timeouts.observe(zeros, append, seqs, outcomes, zeros, ones, zeros + open_from)
    return list(zip(back.minutes.tolist(), back.signs.tolist(), strict=True))


def _out(timeouts: Timeouts, end_ms: int) -> list[tuple[int, int]]:
    found = timeouts.end_of_bucket(end_ms)
    return list(zip(found.minutes.tolist(), found.signs.tolist(), strict=True))


def test_a_silent_session_times_out_once_and_is_taken_back() -> None:
    """At exactly 120 s of append time, in the minute of last activity + 120 s; back with −1 in that minute."""
    timeouts = Timeouts(SETTINGS)
    _observe(timeouts, [(NOW, 0, 0)])
    assert _out(timeouts, NOW + 119_999) == []
    minute = (NOW + 120_000) // 60_000
    assert _out(timeouts, NOW + 120_000) == [(minute, 1)]
    assert _out(timeouts, NOW + 130_000) == []
    assert _observe(timeouts, [(NOW + 200_000, 1, 0)]) == [(minute, -1)]
    assert _out(timeouts, NOW + 320_000) == [((NOW + 320_000) // 60_000, 1)]


def test_a_session_that_comes_back_after_its_minute_closed_keeps_its_timeout() -> None:
    """A final minute is never changed."""
    timeouts = Timeouts(SETTINGS)
    _observe(timeouts, [(NOW, 0, 0)])
    ((minute, _),) = _out(timeouts, NOW + 120_000)
    assert _observe(timeouts, [(NOW + W, 1, 0)], open_from=minute + 1) == []


def test_an_ended_session_does_not_time_out_even_if_stragglers_follow() -> None:
    """Heartbeats of smaller seq after the outcome are no activity; one of larger seq is."""
    timeouts = Timeouts(SETTINGS)
    _observe(timeouts, [(NOW, 5, 1), (NOW + 10_000, 4, 0)])
    assert _out(timeouts, NOW + 500_000) == []
    _observe(timeouts, [(NOW + 600_000, 6, 0)])
    assert len(_out(timeouts, NOW + 800_000)) == 1


def test_a_session_silent_beyond_the_horizon_is_forgotten() -> None:
    """Its numbers can be given away, and if it comes back it is a new one."""
    timeouts = Timeouts(SETTINGS)
    _observe(timeouts, [(NOW, 0, 0)])
    _out(timeouts, NOW + 120_000)
    kept = W + S + SETTINGS.bucket_ms
    assert timeouts.forgotten(NOW + kept).tolist() == []
    assert timeouts.forgotten(NOW + kept + 1).tolist() == [0]


def test_slots_hold_exactly_the_minutes_that_can_still_count() -> None:
    """A minute goes once no message within the clock's slack can count in it; its slot is used again."""
    slots = Slots(SETTINGS)
    first = slots.take(_ints(100, 101))
    assert slots.find(_ints(100, 101, 102, 0)).tolist() == [*first.tolist(), -1, -1]
    closed = 101 * 60_000 + L + S + SETTINGS.bucket_ms
    assert slots.expired(closed - 1) == []
    assert slots.expired(closed) == [first[0]]
    assert slots.take(_ints(200)).tolist() == [first[0]]


def test_rows_are_interned_by_content() -> None:
    """Equal rows share an id, in order of appearance, also beyond the first table."""
    rows = Rows(2)
    many = np.stack([np.arange(5_000), np.arange(5_000) % 7], axis=1).astype(np.int32)
    assert rows.ids(many).tolist() == list(range(5_000))
    assert rows.ids(many[::-1].copy()).tolist() == list(range(5_000))[::-1]


def test_session_numbers_are_given_again_after_freeing() -> None:
    """State stays as large as the audience."""
    sessions = Sessions()
    assert sessions.numbers(["a", "b", "a"]).tolist() == [0, 1, 0]
    sessions.free(_ints(0))
    assert sessions.numbers(["c", "b"]).tolist() == [0, 1]
    assert (sessions.names(_ints(0, 1)), len(sessions), sessions.numbers_used) == (["c", "b"], 2, 2)


def test_texts_keep_code_0_for_the_empty_string() -> None:
    """Cells of a cube without a key stand under the empty value."""
    texts = Texts()
    assert texts.codes(["x", "", "x"]).tolist() == [1, 0, 1]
    assert texts.values(_ints(0, 1)) == ["", "x"]


def test_distributions_count_each_cell_apart_and_weighted() -> None:
    """Values below 0 are none; equal buckets of a cell merge; buckets rise within a cell."""
    values = _ints(500, -1, 20, 500, 20, 7)
    observed = histograms.observe(values, _ints(1, 1, 4, 1, 1, 2))
    maps = histograms.by_cell(observed, _ints(1, 0, 0, 1, 1, 0), 3)
    found = [
        list(zip(maps.buckets[a:b].tolist(), maps.counts[a:b].tolist(), strict=True))
        for a, b in zip(maps.offsets[:-1], maps.offsets[1:], strict=True)
    ]
    at = {ms: int(bucket_of_ms(_ints(ms))[0]) for ms in (7, 20, 500)}
    assert found == [[(at[7], 2), (at[20], 4)], [(at[20], 1), (at[500], 2)], []]
