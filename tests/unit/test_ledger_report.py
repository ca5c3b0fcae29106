"""The ledger's proof: what is missing, what is twice, and whether the counts close."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.ledger import PROBLEMS_MAX, Interval, LedgerRow, first_missing, report, tiling


def _row(start: int, end: int, partition: int = 0, **counts: int) -> LedgerRow:
    even = {"received": 5, "duplicates": 1, "unique": 4, "aggregated": 2, "late": 1, "future": 1}
    return LedgerRow(partition, start, end, 1_000 + end, even | counts)


def test_a_closed_ledger_is_balanced() -> None:
    """Tiled and even: no problem, nothing lost, nothing double, totals summed."""
    found = report([_row(0, 4), _row(4, 9), _row(0, 2, partition=1)], {0: (0, 9), 1: (0, 2)},
                   {"unique": 6, "late": 3, "future": 3})  # fmt: skip
    assert found.balanced
    assert (found.lost, found.double, found.totals["received"]) == (0, 0, 15)
    assert found.partitions[0].watermark_ms == 1_009
    assert found.as_dict()["balanced"] is True


def test_gaps_and_overlaps_are_named() -> None:
    """With partition and offsets, each counted in messages."""
    found = report([_row(0, 4), _row(3, 6), _row(8, 9)], {0: (0, 12)})
    assert (found.lost, found.double) == (5, 1)
    assert found.problems == (
        "partition 0: offsets [6, 8) are in no bucket",
        "partition 0: offsets [9, 12) are in no bucket",
        "partition 0: offsets [3, 4) are in two buckets",
    )


def test_a_partition_that_was_never_counted_is_lost_input() -> None:
    """The log knows of it even if the store does not."""
    assert report([], {2: (5, 8)}).lost == 3


def test_uneven_counts_name_the_bucket_and_the_equation() -> None:
    """received and unique must both add up."""
    found = report([_row(0, 4, duplicates=0)], {0: (0, 4)})
    assert found.problems == ("partition 0 bucket [0, 4): received 5 is not duplicates + unique = 4",)


def test_raw_rows_must_be_as_many_as_counted() -> None:
    """The store's own rows are held against the ledger."""
    found = report([_row(0, 4)], {0: (0, 4)}, {"unique": 2, "late": 1})
    assert found.problems == ("raw rows of kind future: 0 stored, 1 in the ledger",)


def test_a_long_list_of_problems_is_cut_and_says_so() -> None:
    """The report stays readable."""
    found = report([_row(2 * n, 2 * n + 1) for n in range(300)], {0: (0, 600)})
    assert (len(found.problems), found.problems_left_out) == (PROBLEMS_MAX, 200)
    assert not found.balanced


def test_log_trimmed_by_retention_is_not_missed() -> None:
    """Buckets before the log's first record are history."""
    assert report([_row(0, 4), _row(4, 9)], {0: (6, 9)}).balanced


_INTERVALS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)).map(lambda p: (p[0], p[0] + p[1])), max_size=12)


@given(_INTERVALS, st.integers(0, 20), st.integers(0, 30))
def test_tiling_agrees_with_counting_every_offset(intervals: list[tuple[int, int]], start: int, length: int) -> None:
    """Gaps are exactly the uncovered offsets; there is an overlap exactly where an offset is covered twice."""
    end = start + length
    covered = [offset for low, high in intervals for offset in range(low, high)]
    gaps, _ = tiling(intervals, start, end)
    assert [offset for gap in gaps for offset in range(*gap)] == sorted(set(range(start, end)) - set(covered))
    missing = first_missing(intervals, start)
    assert missing not in covered
    assert set(range(start, missing)) <= set(covered)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=10), st.data())
def test_one_bucket_stored_twice_is_one_overlap(lengths: list[int], data: st.DataObject) -> None:
    """A tiling with a repeated interval shows just that interval as double."""
    edges = [0]
    for length in lengths:
        edges.append(edges[-1] + length)
    tiles = [Interval(low, high) for low, high in pairwise(edges)]
    twice = data.draw(st.sampled_from(tiles))
    assert tiling([*tiles, twice], 0, edges[-1]) == ([], [twice])
