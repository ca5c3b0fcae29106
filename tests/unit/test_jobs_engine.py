"""The engine: buckets out of records, poison set aside, state bounded, ticks asked for, clock steps noticed."""

from __future__ import annotations

import dataclasses
import random

import msgspec
import numpy as np
import pytest

from streaming_jobs.engine import PartitionEngine, Position
from streaming_jobs.steps.bucketing import Bucket, Message
from streaming_jobs.steps.counter import Counter
from streaming_jobs.steps.output import BucketOutput
from streaming_jobs.steps.settings import CountingSettings
from streaming_jobs.steps.tag_sets import TagSets
from tests.jobs_world import SETTINGS, START_MS, batch_of, cells_of, count_all, log_of, sent_heartbeats
from tocsin.adapters.log.port import Record
from tocsin.model import columnar, points
from tocsin.model.columnar import HeartbeatBatch
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.heartbeat import BATCH_COLUMNS
from tocsin.model.records import REFUSED, TICK


def _batch(n: int = 3, append_ms: int = START_MS, **columns: int) -> HeartbeatBatch:
    heartbeats = []
    for index in range(n):
        one = dict.fromkeys(BATCH_COLUMNS, 0) | {"sample_k": 1, "seq": index, "ts_ms": append_ms, "startup_ms": -1}
        tags = dict.fromkeys(columnar.TEXT_COLUMNS, "")
        heartbeats.append({**one, **tags, **columns, "session_id": f"session-{index}", "outcome": ""})
    return batch_of(heartbeats)


def _count(*payloads: bytes, append_ms: int = START_MS) -> BucketOutput:
    records = [Record(0, offset, append_ms, payload) for offset, payload in enumerate(payloads)]
    return count_all([*records, Record(0, len(records), append_ms + 60_000, TICK)])[0]


def test_poison_is_quarantined_whole_and_hurts_nobody_else() -> None:
    """Unknown kinds, broken bytes and impossible values are set aside with reason and bytes; the rest counts."""
    good = columnar.encode(_batch())
    impossible = columnar.encode(_batch(outcome=0, startup_ms=-7))
    poison = [b"what?", good[:40], impossible, REFUSED + b"\xff", b"TCP1" + b"junk"]
    output = _count(poison[0], good, *poison[1:])
    assert output.counts["quarantined"] == 5
    assert output.counts["aggregated"] == 3
    rows = output.quarantine.to_pylist()
    assert sorted(row["payload"] for row in rows) == sorted(poison)
    assert [row["offset"] for row in rows] == sorted(row["offset"] for row in rows)
    assert all(row["reason"] for row in rows)


@pytest.mark.parametrize(("column", "value"), [("sample_k", 0), ("seq", -1), ("playing_ms", 2**60), ("outcome", 99)])
def test_a_value_that_no_gateway_writes_is_not_summed(column: str, value: int) -> None:
    """One message cannot spoil the sums of others."""
    batch = _batch(2)
    batch.numbers[column] = np.array([value, 1], np.int64)
    output = _count(columnar.encode(batch))
    assert (output.counts["quarantined"], output.counts["received"]) == (1, 0)
    assert column in output.quarantine.column("reason")[0].as_py()


def test_points_and_refusals_are_passed_on_and_counted() -> None:
    """Points become rows numbered within the bucket; refusals a figure of the ledger."""
    gauge = points.Point("artwork.missing", {"title": "t"}, START_MS, 1.0)
    published = points.encode(points.batch([gauge, points.Point("x.count", {}, START_MS, 2.5, "sum")]))
    output = _count(published, REFUSED + msgspec.msgpack.encode({"bad key": 4, "too old": 1}), published)
    assert (output.counts["points"], output.counts["refused"], output.counts["messages"]) == (4, 5, 3)
    rows = output.series.to_pylist()
    assert [row["ordinal"] for row in rows] == [0, 1, 2, 3]
    assert (rows[0]["name"], rows[0]["tags"], rows[1]["type"], rows[1]["value"]) == (
        "artwork.missing", [("title", "t")], "sum", 2.5,
    )  # fmt: skip


def test_points_of_a_request_that_comes_again_are_dropped_within_the_horizon() -> None:
    """A named message counts once, also over a restart in between; after W it counts anew; the unnamed always count."""
    sums = points.batch([points.Point("x.count", {}, START_MS, 2.5, "sum")])
    named, unnamed = points.encode(dataclasses.replace(sums, message_id=7)), points.encode(sums)
    late_ms = SETTINGS.horizon_ms + 20_001
    sent = [(0, named), (100, named), (10_000, unnamed), (20_000, named), (20_000 + late_ms, named)]
    records = [Record(0, offset, START_MS + at, payload) for offset, (at, payload) in enumerate(sent)]
    records.append(Record(0, len(records), START_MS + late_ms + 60_000, TICK))
    for restarts in ((), (1,), (1, 2, 3)):
        counts = [output.counts for output in count_all(records, restarts)]
        assert [(one["points"], one["points_repeated"]) for one in counts] == [(1, 1), (1, 0), (0, 1), (1, 0)]


def test_every_bucket_has_one_ledger_row_even_when_idle() -> None:
    """A partition of ticks still covers its offsets."""
    ticks = [Record(0, offset, START_MS + 20_000 * offset, TICK) for offset in range(4)]
    outputs = count_all(ticks)
    assert [(output.start_offset, output.end_offset) for output in outputs] == [(0, 1), (1, 2), (2, 3)]
    for output in outputs:
        assert output.deltas.column("cube").to_pylist() == ["ledger"]
        assert output.raw.num_rows == 0


def test_sums_are_exact_beyond_2_to_the_53() -> None:
    """Integers all the way: a double would lose the last digit."""
    values = [2**53, 1, 2**53 - 1, 7]
    batch = _batch(4)
    batch.numbers["req_kb"] = np.array(values, np.int64)
    batch.numbers["sample_k"] = np.array([3, 3, 5, 1], np.int64)
    cells = cells_of([_count(columnar.encode(batch))])
    total = 3 * values[0] + 3 * values[1] + 5 * values[2] + values[3]
    assert total % 2 == 1
    assert total > 2**55
    assert cells["all", START_MS // 60_000, ()]["req_kb"] == total


def test_raw_rows_tell_what_each_heartbeat_was() -> None:
    """Unique, late and future heartbeats are kept with their kind; duplicates are not."""
    old, ahead = _batch(1, START_MS - SETTINGS.lateness_ms - 1), _batch(1, START_MS + 60_001)
    encoded = [columnar.encode(batch) for batch in (_batch(2), old, ahead, _batch(2), old)]
    output = _count(*encoded)
    assert output.raw.column("row_kind").to_pylist() == ["unique", "unique", "late", "future"]
    counted = {name: output.counts[name] for name in ("received", "duplicates", "unique", "late", "future")}
    assert counted == {"received": 7, "duplicates": 3, "unique": 4, "late": 1, "future": 1}


def test_a_minute_beyond_what_the_store_can_hold_is_kept_at_its_end() -> None:
    """A clock in the year 2200 neither stops the bucket nor wraps round to the past."""
    output = _count(columnar.encode(_batch(1, 2**43)))
    assert output.raw.column("minute").to_pylist() == [2**32 - 1]


def test_state_is_bounded_by_the_horizon() -> None:
    """An audience that changes for hours leaves no trace: sessions and tag sets go."""
    counter = Counter(0, DEFAULT_CUBES, SETTINGS, kept_min=64)
    largest_sessions = largest_tag_sets = 0
    for number in range(200):
        append_ms = START_MS + number * 30_000
        batch = _batch(20, append_ms)
        ids = [f"{session_id}-{number}" for session_id in batch.session_ids]
        text = batch.text | {"title": columnar.TextColumn.of([f"title-{one}" for one in ids])}
        payload = columnar.encode(HeartbeatBatch(ids, batch.numbers, text))
        counter.count(Bucket(number, [Message(number, append_ms, payload)]), append_ms, emit=True)
        largest_sessions = max(largest_sessions, counter.sessions)
        largest_tag_sets = max(largest_tag_sets, counter.tag_sets)
    kept_buckets = (SETTINGS.horizon_ms + SETTINGS.slack_ms) // 30_000 + 2
    assert largest_sessions <= 20 * kept_buckets
    assert largest_tag_sets <= 2 * 20 * kept_buckets + 64


def test_forgetting_tag_sets_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are renumbered after every bucket, under the running sums, and nothing moves."""
    records = log_of(sent_heartbeats(3, sessions=24, minutes=40), random.Random(3))
    buckets = [
        Bucket(low, [Message(*record[1:]) for record in records[low : low + 15]]) for low in range(0, len(records), 15)
    ]
    cells, tag_sets = [], []
    for crowded in (False, True):
        monkeypatch.setattr(TagSets, "crowded", crowded)
        counter = Counter(0, DEFAULT_CUBES, SETTINGS)
        outputs = [counter.count(bucket, bucket.append_ms, emit=True) for bucket in buckets]
        cells.append(cells_of(filter(None, outputs)))
        tag_sets.append(counter.tag_sets)
    assert tag_sets[1] < tag_sets[0]
    assert cells[1] == cells[0]


def _engine(settings: CountingSettings = SETTINGS, resume: Position | None = None) -> PartitionEngine:
    engine = PartitionEngine(0, DEFAULT_CUBES, settings)
    engine.resume(resume or Position(0))
    return engine


def test_a_tick_is_due_once_the_open_bucket_is_over() -> None:
    """Not before; at most once a second, for a log whose clock lags; an idle partition is only touched now and then."""
    engine = _engine()
    engine.push(0, START_MS, columnar.encode(_batch(1)))
    assert not engine.needs_tick(START_MS + 4_999)
    assert engine.needs_tick(START_MS + 5_000)
    assert not engine.needs_tick(START_MS + 5_500)
    assert engine.needs_tick(START_MS + 6_000)
    engine.push(1, START_MS + 6_000, TICK)
    assert not engine.needs_tick(START_MS + 20_999)
    assert engine.needs_tick(START_MS + 21_000)


def test_a_partition_that_never_had_a_record_asks_for_a_tick() -> None:
    """Or else its watermark would hold up every fold."""
    assert _engine().needs_tick(START_MS)


def test_buckets_before_the_resume_offset_build_state_and_are_not_handed_out() -> None:
    """A copy of what was counted before is a duplicate after; the first bucket starts at the resume offset."""
    engine = _engine(resume=Position(2, START_MS))
    payload = columnar.encode(_batch(3))
    outputs = [
        engine.push(offset, START_MS + ms, data)
        for offset, (ms, data) in enumerate([(0, payload), (100, TICK), (200, payload), (9_000, TICK), (19_000, TICK)])
    ]
    closed = [output for output in outputs if output is not None]
    assert [(output.start_offset, output.end_offset) for output in closed] == [(2, 3), (3, 4)]
    assert (closed[0].counts["duplicates"], closed[0].counts["unique"]) == (3, 0)


def test_a_clock_step_beyond_the_slack_is_noticed_a_smaller_one_is_not() -> None:
    """State is kept for steps back of up to S; beyond that the owner must re-read."""
    engine = _engine()
    engine.push(0, START_MS, TICK)
    engine.push(1, START_MS - SETTINGS.slack_ms, TICK)
    assert engine.stepped_back_ms is None
    engine.push(2, START_MS - SETTINGS.slack_ms - 1, TICK)
    assert engine.stepped_back_ms == START_MS - SETTINGS.slack_ms - 1


def test_a_step_back_within_the_slack_counts_what_is_in_time_by_its_own_append_time() -> None:
    """A heartbeat that is in time at the earlier stamp still finds its minute and its copies."""
    at, back = START_MS, START_MS - 12_000
    oldest = _batch(1, back - SETTINGS.lateness_ms)
    records = [
        Record(0, 0, back, columnar.encode(oldest)),
        Record(0, 1, at, columnar.encode(_batch(1))),
        Record(0, 2, back, columnar.encode(oldest)),
        Record(0, 3, at + 60_000, TICK),
    ]
    counts = [output.counts for output in count_all(records)]
    assert [(one["unique"], one["duplicates"]) for one in counts] == [(1, 0), (1, 0), (0, 1)]
