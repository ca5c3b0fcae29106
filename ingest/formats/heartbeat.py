"""Bodies of `POST /v1/heartbeats`: one envelope, or one a line (NDJSON), into heartbeats and refusals.

An envelope in the plain form is read by one compiled loop (`ingest.scan`). In any other its events are decoded one by
one by msgspec, so that the good ones are taken and each bad one is refused with its index, field and reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from ingest.rows import Rows, rows_of
from ingest.scan import MALFORMED, scan
from ingest.settings import Limits
from tocsin.model.heartbeat import Envelope, Event, Sdk, decode_event, decode_loose

SAMPLE_RATE_SLACK = 1e-4
"""Relative distance of a `sample_rate` from 1/k that is still taken as 1/k."""
_PATH = re.compile(r"^(?P<reason>.*?) - at `\$\.?(?P<field>[^`]*)`$", re.DOTALL)
_REASON_LENGTH_MAX = 200

_decode_any = msgspec.json.Decoder().decode


class Refusal(NamedTuple):
    """One event that was not taken: `at`, its index in the request, the field at fault, why, the ledger's reason."""

    at: int
    field: str
    reason: str
    code: str


@dataclass(slots=True)
class Part:
    """The good events of one envelope; `positions` are their indices in the request, consecutive where None."""

    rows: Rows
    first: int
    positions: list[int] | None
    sent_ts_ms: int
    sample_k: int
    sdk: Sdk
    tags: dict[str, str]

    def position(self, row: int) -> int:
        """Index in the request of this part's event `row`."""
        return self.first + row if self.positions is None else self.positions[row]


@dataclass(slots=True)
class Parsed:
    """A body taken apart: `total` events seen, good ones in `parts`, bad ones in `refused`."""

    total: int = 0
    parts: list[Part] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


class BodyError(Exception):
    """The body as a whole cannot be used: `field` and `reason` say why, `code` is the ledger's reason."""

    def __init__(self, field: str, reason: str, code: str = "body") -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason
        self.code = code


def parse(body: bytes, limits: Limits, lines: bool = False) -> Parsed:
    """Take a body apart; `lines` where its content type says NDJSON. Raises `BodyError` where nothing can be used."""
    parsed = Parsed()
    if lines:
        _parse_lines(body, limits, parsed)
        return parsed
    try:
        _parse_envelope(body, limits, parsed)
    except BodyError:
        if not _is_lines(body):
            raise
        parsed = Parsed()
        _parse_lines(body, limits, parsed)
    return parsed


def sample_k_of(sample_rate: float) -> int | None:
    """The k of a rate 1/k, None where it is none."""
    k = round(1 / sample_rate)
    return k if abs(k * sample_rate - 1) <= SAMPLE_RATE_SLACK and k < 2**31 else None


def fault_of(error: Exception) -> tuple[str, str]:
    """(field, reason) of a decoder's complaint."""
    text = str(error)
    if isinstance(error, RecursionError):
        return "", "JSON is nested too deep"
    if isinstance(error, UnicodeError):
        return "", "the text is not UTF-8"
    match = _PATH.match(text)
    if match:
        return match["field"], match["reason"][:_REASON_LENGTH_MAX]
    missing = re.search(r"missing required field `([^`]*)`", text)
    return (missing[1] if missing else ""), text[:_REASON_LENGTH_MAX]


def _is_lines(body: bytes) -> bool:
    first, newline, rest = body.lstrip().partition(b"\n")
    return bool(newline) and bool(rest.strip()) and first.rstrip().endswith(b"}") and rest.lstrip()[:1] == b"{"


def _parse_lines(body: bytes, limits: Limits, parsed: Parsed) -> None:
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            _parse_envelope(line, limits, parsed)
        except BodyError as error:
            if error.code == "events":
                raise
            # The line's events cannot be told apart, so the line counts as one.
            reason = f"line {number}: {error.reason}"
            parsed.refused.append(Refusal(parsed.total, error.field, reason, error.code))
            parsed.total += 1


def _parse_envelope(body: bytes, limits: Limits, parsed: Parsed) -> None:
    scanned = scan(body, limits.event_bytes)
    if scanned is None:
        _parse_each(body, limits, parsed)
        return
    rows, envelope = scanned
    first = parsed.total
    _count(len(rows), limits, parsed)
    k = sample_k_of(envelope.sample_rate)
    if k is None:
        parsed.refused += [_bad_rate(first + at, envelope.sample_rate) for at in range(len(rows))]
    else:
        parsed.parts.append(Part(rows, first, None, envelope.sent_ts_ms, k, envelope.sdk, envelope.tags))


def _parse_each(body: bytes, limits: Limits, parsed: Parsed) -> None:
    try:
        envelope = decode_loose(body)
    except MALFORMED as error:
        raise BodyError(*fault_of(error)) from error
    first = parsed.total
    _count(len(envelope.events), limits, parsed)
    k = sample_k_of(envelope.sample_rate)
    events: list[Event] = []
    positions: list[int] = []
    for at, raw in enumerate(envelope.events):
        if k is None:
            parsed.refused.append(_bad_rate(first + at, envelope.sample_rate))
            continue
        if len(memoryview(raw)) > limits.event_bytes:
            reason = f"{len(memoryview(raw))} bytes, more than the {limits.event_bytes} of one event"
            parsed.refused.append(Refusal(first + at, "", reason, "size"))
            continue
        try:
            events.append(decode_event(raw))
        except MALFORMED as error:
            parsed.refused.append(Refusal(first + at, *fault_of(error), "schema"))
        else:
            positions.append(first + at)
    if events and k is not None:
        rows = rows_of(events)
        parsed.parts.append(Part(rows, first, positions, envelope.sent_ts_ms, k, envelope.sdk, envelope.tags))


def _count(n: int, limits: Limits, parsed: Parsed) -> None:
    parsed.total += n
    if parsed.total > limits.events:
        raise BodyError("events", f"more than {limits.events} events in one request; send them in several", "events")


def _bad_rate(index: int, rate: float) -> Refusal:
    return Refusal(index, "sample_rate", f"{rate} is not 1/k for an integer k; send all its digits", "sample_rate")


def unknown_fields(body: bytes) -> list[str]:
    """Names of fields that the schema does not know, as paths (`events[].x`), one for each occurrence."""
    found: list[str] = []
    for line in [body] if not _is_lines(body) else body.split(b"\n"):
        try:
            envelope = _decode_any(line)
        except MALFORMED:
            continue
        if isinstance(envelope, dict):
            found += [name for name in envelope if name not in Envelope.__struct_fields__]
            events = envelope.get("events")
            for event in events if isinstance(events, list) else ():
                if isinstance(event, dict):
                    found += [f"events[].{name}" for name in event if name not in Event.__struct_fields__]
    return found
