"""The compiled loop takes an envelope exactly as msgspec does, or leaves it to msgspec."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.formats import heartbeat
from ingest.formats.heartbeat import BodyError, Parsed
from ingest.scan import scan
from ingest.settings import PUBLIC_LIMITS
from tests.property.test_ingest_columns import ENVELOPES

EVENT: dict[str, Any] = {
    "session_id": "session-0001", "seq": 1, "ts_ms": 1_800_000_000_000, "interval_ms": 10_000, "playhead_ms": 0,
    "reason": "interval", "state": "playing", "playing_ms": 10_000, "bitrate_kbps": {"video": 2_400, "audio": 128},
}  # fmt: skip
ODD_VALUES = (
    "null", "true", "[]", "{}", '""', '"1"', "-1", "-0", "01", "1.0", "1e3", "1E1", "2147483647", "2147483648",
    "8796093022208", "8796093022209", "9223372036854775808", "99999999999999999999", "-2147483648", "-2147483649", "+1",
    "1 ", " 1", "0x1", "NaN", '"interval"', '"Interval"', '"start"', '"playing"', '"playing\\u0020"', '"quit"', '"é"',
    '"session"', '"session-0002"', '"session 0002"', '"session\\u00300"', '"' + "x" * 64 + '"', '"' + "x" * 65 + '"',
    '{"video":1}', '{"video":1,"video":2}', '{"video":1.5}', '{"video":-1}', '{"audio":1,"x":2}', '{"video":1,}',
    '{"code":"E1"}', '{"code":""}', '{"code":"E1","fatal":true,"message":"\\"}]"}', '{"code":"E\xff"}',
    '{"cdn.name":"a"}', '{"cdn.name":1}', '{"cdn.name":"]}","events":"["}', '{"cdn.name":"a"', "nul", "", "1]", "1}",
)  # fmt: skip
FIELDS = (*EVENT, "startup_ms", "av_sum_ms", "av_sumsq_ms2", "outcome", "error", "tags", "unknown", "ev\\u0065nt")
AROUND = (
    '{"sdk":{"name":"a","version":"1"},"events":@,"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"tags":{"a":"]}\\""}}',
    ' {\n"schema" : "tocsin.heartbeat/1" ,\t"sent_ts_ms":5,\r\n"events" : @ } \n',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"sdk":{"events":@}}',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"sdk":{"events":@},"events":[]}',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"events":[],"events":@}',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"events":@,"events":[]}',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"events":@,"ev\\u0065nts":[]}',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"events":@}}',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"events":@',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"events":@,}',
    '{"schema":"tocsin.heartbeat/2","sent_ts_ms":5,"events":@}',
    '{"schema":"tocsin.heartbeat/1","events":@}',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"sample_rate":0.3,"events":@}',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"more":{"a":[1,{"b":"}"}]},"events":@}',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"more":[},"events":@}',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"events":@}\0',
    '{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"events":@}{}',
    '[@]', '@', '"events":@',
)  # fmt: skip
JSON_BYTES = b'{}[]",:\\ \n\0-+.0159eEtn\xc3\xff'


def told(body: bytes, by_each: bool) -> object:
    """What becomes of a body, as plain values: the error, or each event's columns, and what was refused."""
    parsed = Parsed()
    try:
        (heartbeat._parse_each if by_each else heartbeat._parse_envelope)(body, PUBLIC_LIMITS, parsed)
    except BodyError as error:
        return error.field, error.reason, error.code
    parts = [
        (
            part.rows.numbers.tolist(), part.rows.session_ids, part.rows.errors, part.rows.tags,
            [part.position(row) for row in range(len(part.rows))], part.sent_ts_ms, part.sample_k, part.sdk, part.tags,
        )
        for part in parsed.parts
    ]  # fmt: skip
    return parsed.total, parsed.refused, parts


def both(body: bytes) -> None:
    """Both ways tell the same of a body."""
    assert told(body, by_each=False) == told(body, by_each=True)


def envelope_of(*events: str) -> str:
    """An envelope around events given as JSON."""
    return f'{{"schema":"tocsin.heartbeat/1","sent_ts_ms":5,"events":[{",".join(events)}]}}'


UNKNOWN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@settings(deadline=None)
@given(
    ENVELOPES, UNKNOWN, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]), st.randoms(use_true_random=False)
)
def test_what_players_send_is_read_alike(
    envelope: dict[str, Any], unknown: object, separators: tuple[str, str], random: Any
) -> None:
    """Any values, any order of fields, any white space, unknown fields: the loop takes it, as msgspec would."""
    for event in envelope["events"]:
        fields = [*event.items(), ("vendor", unknown)]
        random.shuffle(fields)
        event.clear()
        event.update(fields)
    body = json.dumps(envelope, separators=separators, ensure_ascii=False).encode()
    assert scan(body, PUBLIC_LIMITS.event_bytes) is not None
    both(body)


@settings(deadline=None, max_examples=600)
@given(
    ENVELOPES,
    st.lists(st.tuples(st.floats(0, 0.999), st.sampled_from(JSON_BYTES), st.integers(0, 2)), min_size=1, max_size=4),
)
def test_a_body_that_was_changed_is_read_alike(envelope: dict[str, Any], edits: list[tuple[float, int, int]]) -> None:
    """Bytes replaced, inserted and left out anywhere: the same answer, good or bad."""
    body = bytearray(json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode())
    for where, byte, how in edits:
        at = int(where * len(body))
        body[at : at + (how != 1)] = b"" if how == 2 else bytes([byte])
    both(bytes(body))


@pytest.mark.parametrize("field", FIELDS)
def test_any_value_of_a_field_is_read_alike(field: str) -> None:
    """Each field with each odd value, in place of its own, and again after it (which JSON allows)."""
    for odd in ODD_VALUES:
        good = json.dumps(EVENT)
        event = {name: value for name, value in EVENT.items() if name != field}
        for text in (f'{json.dumps(event)[:-1]},"{field}":{odd}}}', f'{good[:-1]},"{field}":{odd}}}'):
            for body in (envelope_of(text), envelope_of(good, text, good)):
                both(body.encode("latin-1"))
                both(body.encode())


@pytest.mark.parametrize("around", AROUND)
def test_any_envelope_is_read_alike(around: str) -> None:
    """Envelopes that are odd around good events, or not JSON at all."""
    good = json.dumps(EVENT)
    for events in (f"[{good}]", f"[{good},{good}]", "[]", "[ ]", f"[{good},]", f"[,{good}]", f"[{good} {good}]", "[1]"):
        both(around.replace("@", events).encode())


def test_a_missing_field_is_named() -> None:
    """What must be there and is not."""
    for field in EVENT:
        both(envelope_of(json.dumps({name: value for name, value in EVENT.items() if name != field})).encode())


def test_an_event_that_is_too_long_is_refused_alone() -> None:
    """Also among many that are short."""
    long = json.dumps(EVENT)[:-1] + " " * PUBLIC_LIMITS.event_bytes + "}"
    body = envelope_of(*[json.dumps(EVENT)] * 40, long).encode()
    parsed = heartbeat.parse(body, PUBLIC_LIMITS)
    assert [(refusal.at, refusal.code) for refusal in parsed.refused] == [(40, "size")]
    both(body)


def test_more_events_than_a_request_may_hold() -> None:
    """500 are read by the loop, one more is the request's fault."""
    event = json.dumps(EVENT)
    assert scan(envelope_of(*[event] * 500).encode(), PUBLIC_LIMITS.event_bytes) is not None
    both(envelope_of(*[event] * 501).encode())
