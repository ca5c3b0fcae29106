"""Any heartbeats in any requests become the same columns as a plain loop over them would give."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.columns import Placed, build, payloads, session_hashes, split
from ingest.formats.heartbeat import BodyError, parse
from ingest.settings import BULK_LIMITS, PUBLIC_LIMITS
from ingest.stats import Stats
from ingest.tagging import Tagger
from tocsin.adapters.log.port import partition_of
from tocsin.model import columnar
from tocsin.model.columnar import BATCH_COLUMNS, TEXT_COLUMNS
from tocsin.model.heartbeat import NUMERIC, OUTCOMES, REASONS, STATES
from tocsin.model.tags import BY_KEY, BY_WIRE, IDENTITY_KEYS

TAG_VALUES = st.dictionaries(st.sampled_from(sorted(BY_WIRE)), st.text(max_size=6), max_size=4)
COUNTS = st.sampled_from([0, 0, 0, 1, 255, 256, 70_000, 2**31 - 1])
RANGES = {
    "av_sum_ms": st.sampled_from([0, -1, -40_000, 2**31 - 1, -(2**31)]),
    "interval_ms": st.integers(0, 3_600_000),
    "startup_ms": st.integers(-1, 9_000),
}
EVENTS = st.fixed_dictionaries(
    {
        "session_id": st.from_regex(r"[A-Za-z0-9_.:~-]{8,12}", fullmatch=True),
        "reason": st.sampled_from(REASONS),
        "state": st.sampled_from(STATES),
        **{
            name: RANGES.get(name, COUNTS)
            for name in ("seq", "ts_ms", "interval_ms", "playhead_ms")
        },
    },
    optional={
        **{
            name: RANGES.get(name, COUNTS)
            for name in NUMERIC
            if name not in ("seq", "ts_ms", "interval_ms", "playhead_ms")
        },
        "outcome": st.sampled_from(OUTCOMES[1:]),
        "bitrate_kbps": st.fixed_dictionaries({"video": COUNTS, "audio": COUNTS}),
        "error": st.fixed_dictionaries(
            {"code": st.text(min_size=1, max_size=5)},
            optional={"fatal": st.booleans(), "technical": st.booleans(), "message": st.text(max_size=5)},
        ),
        "tags": TAG_VALUES,
    },
)  # fmt: skip
ENVELOPES = st.fixed_dictionaries(
    {
        "schema": st.just("tocsin.heartbeat/1"),
        "sent_ts_ms": st.integers(0, 2**43),
        "events": st.lists(EVENTS, min_size=1, max_size=5),
        "tags": TAG_VALUES,
        "sample_rate": st.sampled_from([1, 0.5, 0.25, 0.01]),
    }
)


def expected(envelope: dict[str, Any], event: dict[str, Any], shift_ms: int) -> dict[str, Any]:
    """One row, the slow way."""
    tags = {**envelope["tags"], **event.get("tags", {})}
    rate = event.get("bitrate_kbps", {"video": 0, "audio": 0})
    error = event.get("error")
    row: dict[str, Any] = {name: event.get(name, -1 if name == "startup_ms" else 0) for name in NUMERIC}
    row |= {
        "session_id": event["session_id"],
        "reason": REASONS.index(event["reason"]),
        "state": STATES.index(event["state"]),
        "outcome": OUTCOMES.index(event.get("outcome", "")),
        "bitrate_video_kbps": rate["video"],
        "bitrate_audio_kbps": rate["audio"],
        "error_fatal": int(error is not None and error.get("fatal", False)),
        "error_technical": int(error is not None and error.get("technical", True)),
        "sample_k": round(1 / envelope["sample_rate"]),
        "received_ms": 123,
        "shift_ms": shift_ms,
        "error": error["code"] if error else "",
        "error_message": error.get("message", "") if error else "",
        "sdk": "",
    }
    for key in IDENTITY_KEYS:
        tag = BY_KEY[key]
        row[key] = "" if tag.server_only else tags.get(tag.wire, "")
    return row


@settings(deadline=None)
@given(st.lists(ENVELOPES, min_size=1, max_size=4))
def test_columns_equal_a_plain_loop(envelopes: list[dict[str, Any]]) -> None:
    """Parsing, building, splitting, encoding and decoding keep every value of every heartbeat, in its partition."""
    body = b"\n".join(msgspec.json.encode(one) for one in envelopes)
    parsed = parse(body, BULK_LIMITS, lines=True)
    assert parsed.refused == []
    placed = [Placed(part, "", "", 123, at) for at, part in enumerate(parsed.parts)]
    batch = build(placed, Tagger(Stats()))
    rows = [expected(one, event, at) for at, one in enumerate(envelopes) for event in one["events"]]
    partition = (session_hashes(batch.session_ids) % np.uint64(3)).astype(np.int64)
    assert partition.tolist() == [partition_of(row["session_id"], 3) for row in rows]
    for number, part in split(batch, partition):
        part = columnar.decode(columnar.encode(part))
        wanted = [row for row, where in zip(rows, partition.tolist(), strict=True) if where == number]
        assert part.session_ids == [row["session_id"] for row in wanted]
        for name in BATCH_COLUMNS:
            assert part.numbers[name].tolist() == [row[name] for row in wanted], name
        for name in TEXT_COLUMNS:
            assert part.text[name].texts() == [row[name] for row in wanted], name


@settings(deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=12), st.integers(500, 3_000))
def test_payloads_stay_within_their_bytes(events: list[dict[str, Any]], bytes_max: int) -> None:
    """A batch too large for one payload becomes several, in order, each within the bound or of one heartbeat."""
    body = msgspec.json.encode({"schema": "tocsin.heartbeat/1", "sent_ts_ms": 1, "events": events})
    batch = build([Placed(part, "", "", 1, 0) for part in parse(body, BULK_LIMITS).parts], Tagger(Stats()))
    made = payloads(batch, bytes_max)
    parts = [columnar.decode(payload) for payload in made]
    assert [one for part in parts for one in part.session_ids] == [one["session_id"] for one in events]
    assert all(len(payload) <= bytes_max or len(part) == 1 for payload, part in zip(made, parts, strict=True))


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=400), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes_are_taken_apart_or_refused(body: bytes) -> None:
    """No body makes the parser fail in another way than by `BodyError`."""
    for lines in (False, True):
        try:
            parsed = parse(body, PUBLIC_LIMITS, lines)
        except BodyError:
            continue
        assert parsed.total == sum(len(part.rows) for part in parsed.parts) + len(parsed.refused)


@settings(deadline=None)
@given(st.lists(st.one_of(EVENTS, st.fixed_dictionaries({"seq": st.just(-1)}), st.integers()), max_size=8), st.data())
def test_accepted_and_refused_make_up_all(events: list[Any], data: st.DataObject) -> None:
    """Every event of a request is either in a part, at its own position, or refused at its own index; never both."""
    body = msgspec.json.encode({"schema": "tocsin.heartbeat/1", "sent_ts_ms": 1, "events": events})
    parsed = parse(body, PUBLIC_LIMITS)
    good = [part.position(row) for part in parsed.parts for row in range(len(part.rows))]
    bad = [refusal.at for refusal in parsed.refused]
    assert sorted(good + bad) == list(range(len(events)))
    for part in parsed.parts:
        for row, session_id in enumerate(part.rows.session_ids):
            assert events[part.position(row)]["session_id"] == session_id


def test_a_rate_that_is_no_unit_fraction_is_told_from_one_that_is() -> None:
    """1/3 as a float is taken; 0.3 and 0.7 are not."""
    for rate, good in ((1 / 3, True), (0.333, False), (0.33333, True), (0.3, False), (0.7, False), (1e-6, True)):
        envelope = {"schema": "tocsin.heartbeat/1", "sent_ts_ms": 1, "sample_rate": rate, "events": [{}]}
        fields = {refusal.field for refusal in parse(msgspec.json.encode(envelope), PUBLIC_LIMITS).refused}
        assert ("sample_rate" in fields) is not good
    with pytest.raises(BodyError, match="sample_rate"):
        parse(
            msgspec.json.encode({"schema": "tocsin.heartbeat/1", "sent_ts_ms": 1, "sample_rate": 0, "events": []}),
            PUBLIC_LIMITS,
        )
