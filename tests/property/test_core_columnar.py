"""The columnar message gives back what was put in, and refuses everything else without harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model import columnar, points
from tocsin.model.columnar import TEXT_COLUMNS, HeartbeatBatch, TextColumn
from tocsin.model.errors import CorruptError
from tocsin.model.heartbeat import BATCH_COLUMNS
from tocsin.model.points import Point

_ids = st.text(alphabet="abcdefXYZ0123456789_.:~-", min_size=8, max_size=64)
_numbers = st.integers(-(2**53), 2**53)
_text = st.text(max_size=40).filter(lambda text: text.isprintable())


@st.composite
def batches(draw: st.DrawFn) -> HeartbeatBatch:
    """Batches of 1 to 20 heartbeats with any number in some columns."""
    ids = draw(st.lists(_ids, min_size=1, max_size=20))
    chosen = draw(st.sets(st.sampled_from(BATCH_COLUMNS), max_size=6))
    numbers = {name: np.array(draw(st.lists(_numbers, min_size=len(ids), max_size=len(ids)))) for name in chosen}
    keys = draw(st.sets(st.sampled_from(TEXT_COLUMNS), max_size=3))
    text = {key: TextColumn.of(draw(st.lists(_text, min_size=len(ids), max_size=len(ids)))) for key in keys}
    return columnar.from_rows(ids, numbers, text)


def _same(left: HeartbeatBatch, right: HeartbeatBatch) -> bool:
    return (
        left.session_ids == right.session_ids
        and all((left.numbers[name] == right.numbers[name]).all() for name in BATCH_COLUMNS)
        and all(left.text[name].texts() == right.text[name].texts() for name in TEXT_COLUMNS)
    )


@given(batches())
def test_a_batch_survives_the_wire(batch: HeartbeatBatch) -> None:
    """decode(encode(x)) is x, whatever the integers and texts."""
    assert _same(columnar.decode(columnar.encode(batch)), batch)


@given(batches(), batches())
def test_concatenation_keeps_order_and_text(left: HeartbeatBatch, right: HeartbeatBatch) -> None:
    """Batches joined and taken apart again are themselves."""
    both = columnar.concat([left, right])
    assert _same(both.take(np.arange(len(left))), left)
    assert _same(both.take(np.arange(len(left), len(both))), right)


@given(batches(), st.data())
def test_a_damaged_message_is_refused_or_still_well_formed(batch: HeartbeatBatch, data: st.DataObject) -> None:
    """Any cut or flipped byte ends in CorruptError or in a batch whose parts fit each other; never in another error."""
    payload = bytearray(columnar.encode(batch))
    at = data.draw(st.integers(0, len(payload) - 1))
    if data.draw(st.booleans()):
        del payload[at:]
    else:
        payload[at] ^= data.draw(st.integers(1, 255))
    try:
        got = columnar.decode(bytes(payload))
    except CorruptError:
        return
    assert all(len(column) == len(got) for column in got.numbers.values())
    assert all(len(column.texts()) == len(got) for column in got.text.values())


@given(
    st.lists(
        st.builds(
            Point,
            st.text("abc.", min_size=1),
            st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
            st.integers(0, 2**43),
            st.floats(allow_nan=False),
            st.sampled_from(["gauge", "sum", "rate"]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_points_survive_the_wire(sent: list[Point]) -> None:
    """Published points come back in order with name, tags, type, time and value."""
    got = points.decode(points.encode(points.batch(sent)))
    series = [got.series[code] for code in got.codes]
    assert [(s.name, dict(s.tags), s.type) for s in series] == [(p.name, dict(p.tags), p.type) for p in sent]
    assert got.ts_ms.tolist() == [p.ts_ms for p in sent]
    assert got.values.tolist() == [p.value for p in sent]


def test_the_type_tells_series_apart() -> None:
    """Name and tags alone do not; the id is the same in every process."""
    gauge, rate = (points.Series("load", (("node", "a"),), kind) for kind in ("gauge", "rate"))
    assert gauge.series_id != rate.series_id
    assert gauge.series_id == points.Series("load", (("node", "a"),), "gauge").series_id == 0x736E38A04486CEAB


def test_what_is_known_is_bounded() -> None:
    """Once the keys are too many bytes it starts over, and what cannot be made is not kept."""
    made: list[bytes] = []

    def make(key: bytes) -> int:
        made.append(key)
        return int(key)

    known = points.Known(make, bytes_max=8)
    assert [known[key] for key in (b"111", b"222", b"111", b"222")] == [111, 222, 111, 222]
    assert known[b"333"] == 333
    assert (list(known), known[b"111"]) == ([b"333"], 111)
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            known[b"x"]
    assert made == [b"111", b"222", b"333", b"111", b"x", b"x"]


@pytest.mark.parametrize("payload", [b"", b"TCH1", b"TCH1" + b"\0" * 50, b"junk" * 20])
def test_what_is_no_message_is_corrupt(payload: bytes) -> None:
    """Bytes that were never a message raise CorruptError."""
    with pytest.raises(CorruptError):
        columnar.decode(payload)
