"""The events of an envelope from JSON straight into rows of numbers, by one compiled loop.

    scanned = scan(body, limits.event_bytes)      # None: not in the plain form that nearly every player sends

It takes only what it is sure of: fields at most once, strings without escapes, integers within their bounds; errors
and tags of an event, and values of unknown fields, are handed to msgspec. Whatever else comes (a float, a value out of
bounds, a missing field, an event too long, broken JSON) is not judged here: msgspec reads that body from the start,
and it alone says what is wrong. What surrounds the events is decoded by msgspec, too. So an envelope is taken by both
ways alike or by msgspec's alone, which tests/property/test_ingest_scan.py holds them to.

Measured at 20 heartbeats a request: 0.7 µs a heartbeat, where msgspec took 1.1 and the way from its structs to columns
another 1 (ADR 12).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ingest.rows import ROW_COLUMNS, Rows
from tocsin.model.columnar import Int64s
from tocsin.model.compiled import compiled_bare
from tocsin.model.heartbeat import (
    EVENTS_MAX,
    NOT_STARTED,
    OUTCOMES,
    REASONS,
    SESSION_ID_ALPHABET,
    STATES,
    Bitrate,
    Event,
    PlaybackError,
)

UInt8s = npt.NDArray[np.uint8]
UInt64s = npt.NDArray[np.uint64]

_PAD = bytes(64)
"""Zeros after the body: JSON has no zero byte, so no loop needs to look for the end."""
_WIDTH = len(ROW_COLUMNS)
_COLUMN = {name: at for at, name in enumerate(ROW_COLUMNS)}
_SPANS = {"error": 0, "tags": 2}
"""Values that are left to msgspec: the column of where one begins in the body; the next is where it ends."""
_SCRATCH_BYTES = 65_536
_ID_BYTES_MAX = 64
_WORDS: dict[str, tuple[str, ...]] = {"reason": REASONS, "state": STATES, "outcome": OUTCOMES}
_TEXT_BYTES = 24

_INT, _WORD, _RATE, _ID, _SPAN, _UNKNOWN = range(6)
_LENGTH, _KIND, _AT, _LOW, _HIGH, _FIRST, _END = range(7)


def _tables() -> tuple[UInt64s, Int64s, int, int]:
    """Texts that the loop knows, each with its closing quote, and what each means; number of fields, and which of them
    must be there, as bits. They travel as arrays: a compiled function must not keep another module's constants.

    Fields come first, then the two of a bitrate, then words. A text's meaning: length, kind, column, bounds, and the
    first of its words and the one after the last; of a word its code, as `_LOW`.
    """
    texts: list[str] = []
    meanings: list[list[int]] = []
    event, rate = (msgspec.inspect.type_info(one) for one in (Event, Bitrate))
    assert isinstance(event, msgspec.inspect.StructType)  # noqa: S101
    assert isinstance(rate, msgspec.inspect.StructType)  # noqa: S101
    first_rate = len(event.fields)
    words = first_rate + len(rate.fields)
    for one in (*event.fields, *rate.fields):
        number = one.type if isinstance(one.type, msgspec.inspect.IntType) else None
        meaning = [len(one.name) + 1, _SPAN, 0, 0, 0, 0, 0]
        if one.name in _SPANS:
            meaning[_KIND : _AT + 1] = _SPAN, _SPANS[one.name]
        elif one.name == "session_id":
            assert isinstance(one.type, msgspec.inspect.StrType)  # noqa: S101
            meaning[_KIND : _HIGH + 1] = _ID, 0, one.type.min_length or 0, one.type.max_length or 0
        elif one.name in _WORDS:
            n = len([word for word in _WORDS[one.name] if word])
            meaning[_KIND : _AT + 1] = _WORD, _COLUMN[one.name]
            meaning[_FIRST:] = words, words + n
            words += n
        elif one.name == "bitrate_kbps":
            meaning[_KIND] = _RATE
            meaning[_FIRST:] = first_rate, first_rate + len(rate.fields)
        else:
            assert number is not None  # noqa: S101
            name = one.name if one.name in _COLUMN else f"bitrate_{one.name}_kbps"
            meaning[_KIND : _HIGH + 1] = _INT, _COLUMN[name], number.ge or 0, number.le or 0
        texts.append(one.name)
        meanings.append(meaning)
    for word, code in ((word, code) for group in _WORDS.values() for code, word in enumerate(group) if word):
        texts.append(word)
        meanings.append([len(word) + 1, _WORD, 0, code, 0, 0, 0])
    packed = b"".join(f'{text}"'.encode().ljust(_TEXT_BYTES, b"\0") for text in texts)
    masks = b"".join((b"\xff" * (len(text) + 1)).ljust(_TEXT_BYTES, b"\0") for text in texts)
    assert first_rate < 63  # noqa: S101  a bit a field
    required = sum(1 << at for at, one in enumerate(event.fields) if one.required)
    eights = [np.frombuffer(one, "<u8").reshape(-1, _TEXT_BYTES // 8) for one in (packed, masks)]
    return np.concatenate(eights, axis=1), np.array(meanings, np.int64), first_rate, required


_TEXTS, _MEANINGS, _FIELDS, _REQUIRED = _tables()
_ID_BYTES = np.zeros(256, np.bool_)
_ID_BYTES[np.frombuffer(SESSION_ID_ALPHABET, np.uint8)] = True
_EMPTY = np.zeros(_WIDTH, np.int64)
_EMPTY[_COLUMN["startup_ms"]] = NOT_STARTED

_decode_error = msgspec.json.Decoder(PlaybackError | None).decode
_decode_tags = msgspec.json.Decoder(dict[str, str] | None).decode


class _Scratch(threading.local):
    """The memory of a scan, made once a thread: ten small arrays would cost as much as the reading itself."""

    def __init__(self) -> None:
        self.hold(_SCRATCH_BYTES)
        self.follows = np.zeros(_FIELDS + 1, np.int64)
        self.numbers = np.empty((EVENTS_MAX, _WIDTH), np.int64)
        self.spans = np.empty((EVENTS_MAX, 2 * len(_SPANS)), np.int64)
        self.ids = np.empty(EVENTS_MAX * (_ID_BYTES_MAX + 1), np.uint8)
        self.ids_view = memoryview(self.ids)  # type: ignore[arg-type]

    def hold(self, size: int) -> None:
        """Make room for a body."""
        self.body = np.zeros(size + len(_PAD), np.uint8)
        self.body_view = memoryview(self.body)  # type: ignore[arg-type]
        self.eights = np.ndarray((size,), "<u8", self.body, 0, (1,))  # the eight bytes that begin at each byte


_scratch = _Scratch()


def scan(body: bytes, event_bytes: int) -> tuple[Rows, bytes] | None:
    """The rows of an envelope's events, each of at most `event_bytes`, and what msgspec has still to find valid: the
    envelope with `[]` in place of its events, or with them where they have fields that nobody knows.

    None where msgspec must read it all.
    """
    own = _scratch
    size = len(body)
    if size + len(_PAD) > len(own.body):
        own.hold(size)
    own.body_view[:size] = body
    own.body_view[size : size + len(_PAD)] = _PAD
    n, start, end, ids_end, spanned, unknown = _scan(
        own.body, own.eights, _TEXTS, _MEANINGS, _FIELDS, _REQUIRED, event_bytes, _ID_BYTES, _EMPTY,
        own.follows, own.numbers, own.spans, own.ids,
    )  # fmt: skip
    if n <= 0:
        return None
    rows = Rows(own.numbers[:n].copy(), str(own.ids_view[: ids_end - 1], "ascii").split("\n"))
    try:
        if spanned:
            rows.errors = _decoded(body, own.spans[:n], _SPANS["error"], _decode_error)
            rows.tags = _decoded(body, own.spans[:n], _SPANS["tags"], _decode_tags)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return rows, body if unknown else body[:start] + b"[]" + body[end:]


def warm_up() -> None:
    """Compile the loop, or load it (a second), before the first request waits for it."""
    scan(b"{}", 0)


def _decoded(body: bytes, spans: Int64s, at: int, decode: Callable[[bytes], Any]) -> dict[int, Any]:
    """What is there of a value, by row."""
    values = [(row, decode(body[spans[row, at] : spans[row, at + 1]])) for row in np.flatnonzero(spans[:, at]).tolist()]
    return {row: value for row, value in values if value}


@compiled_bare
def _scan(
    body: UInt8s, eights: UInt64s, texts: UInt64s, meanings: Int64s, fields: int, required: int,
    event_bytes: int, id_bytes: npt.NDArray[np.bool_], empty: Int64s, follows: Int64s,
    numbers: Int64s, spans: Int64s, ids: UInt8s,
) -> tuple[int, int, int, int, int, int]:  # fmt: skip
    """Fill `numbers`, `spans` and `ids`, each with a line feed after it, from the whole body.

    (events, first byte of their array, the byte after it, bytes of ids, errors and tags, unknown fields); -1 events
    where it is not sure.
    """
    nothing = -1, 0, 0, 0, 0, 0
    n, start, end, ids_end, spanned, unknown = -1, 0, 0, 0, 0, 0
    at = _blank(body, 0)
    if body[at] != 123:
        return nothing
    while True:
        at = _blank(body, at + 1)
        if body[at] != 34:
            return nothing
        is_events = (
            body[at + 1] == 101 and body[at + 2] == 118 and body[at + 3] == 101 and body[at + 4] == 110
            and body[at + 5] == 116 and body[at + 6] == 115 and body[at + 7] == 34
        )  # fmt: skip
        at += 1
        while body[at] != 34:
            if body[at] == 92 or body[at] == 0:
                return nothing
            at += 1
        at = _blank(body, at + 1)
        if body[at] != 58:
            return nothing
        at = _blank(body, at + 1)
        if is_events:
            if body[at] != 91:
                return nothing
            start = at
            n, end, ids_end, spanned, unknown = _events(
                body,
                eights,
                at,
                texts,
                meanings,
                fields,
                required,
                event_bytes,
                id_bytes,
                empty,
                follows,
                numbers,
                spans,
                ids,
            )
            if n < 0:
                return nothing
            at = end
        else:
            at = _after(body, at)
            if at < 0:
                return nothing
        at = _blank(body, at)
        if body[at] == 125:
            return n, start, end, ids_end, spanned, unknown
        if body[at] != 44:
            return nothing


@compiled_bare
def _events(
    body: UInt8s, eights: UInt64s, at: int, texts: UInt64s, meanings: Int64s, fields: int, required: int,
    event_bytes: int, id_bytes: npt.NDArray[np.bool_], empty: Int64s, follows: Int64s,
    numbers: Int64s, spans: Int64s, ids: UInt8s,
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """The array of events at `at`: (events, the byte after it, bytes of ids, errors and tags, unknown fields); or -1.

    `follows` has the field that came after each one lately, which is tried first.
    """
    nothing = -1, 0, 0, 0, 0
    n, ids_end, spanned, unknown = 0, 0, 0, 0
    while True:
        at = _blank(body, at + 1)
        if body[at] != 123 or n == len(numbers):
            return nothing
        first_byte = at
        row = numbers[n]
        for i in range(len(row)):
            row[i] = empty[i]
        for i in range(spans.shape[1]):
            spans[n, i] = 0
        seen = 0
        before = fields
        while True:
            at = _blank(body, at + 1)
            if body[at] != 34:
                return nothing
            at += 1
            field = follows[before]
            if not _same(eights, at, texts, field):
                field = _find(eights, at, texts, 0, fields)
            if field < 0:
                while body[at] != 34:
                    if body[at] < 32 or body[at] > 126 or body[at] == 92:
                        return nothing
                    at += 1
                at += 1
                kind = _UNKNOWN
            else:
                if seen >> field & 1:
                    return nothing
                seen |= 1 << field
                follows[before] = field
                before = field
                at += meanings[field, _LENGTH]
                kind = meanings[field, _KIND]
            at = _blank(body, at)
            if body[at] != 58:
                return nothing
            at = _blank(body, at + 1)
            if kind == _INT:
                at = _number(body, at, meanings, field, row)
            elif kind == _ID:
                first = at + 1
                if body[at] != 34:
                    return nothing
                at = first
                while id_bytes[body[at]]:
                    at += 1
                if body[at] != 34 or at - first < meanings[field, _LOW] or at - first > meanings[field, _HIGH]:
                    return nothing
                for i in range(first, at):
                    ids[ids_end] = body[i]
                    ids_end += 1
                ids[ids_end] = 10
                ids_end += 1
                at += 1
            elif kind == _SPAN:
                spanned += 1
                spans[n, meanings[field, _AT]] = at
                at = _after(body, at)
                spans[n, meanings[field, _AT] + 1] = at
            elif kind == _UNKNOWN:
                unknown += 1
                at = _after(body, at)
            elif body[at] == 110 and body[at + 1] == 117 and body[at + 2] == 108 and body[at + 3] == 108:
                if required >> field & 1:
                    return nothing
                at += 4
            elif kind == _WORD:
                if body[at] != 34:
                    return nothing
                word = _find(eights, at + 1, texts, meanings[field, _FIRST], meanings[field, _END])
                if word < 0:
                    return nothing
                row[meanings[field, _AT]] = meanings[word, _LOW]
                at += 1 + meanings[word, _LENGTH]
            else:
                at = _rate(body, eights, at, texts, meanings, meanings[field, _FIRST], meanings[field, _END], row)
            if at < 0:
                return nothing
            at = _blank(body, at)
            if body[at] == 125:
                break
            if body[at] != 44:
                return nothing
        if seen & required != required or at + 1 - first_byte > event_bytes:
            return nothing
        n += 1
        at = _blank(body, at + 1)
        if body[at] == 93:
            return n, at + 1, ids_end, spanned, unknown
        if body[at] != 44:
            return nothing


@compiled_bare
def _rate(
    body: UInt8s, eights: UInt64s, at: int, texts: UInt64s, meanings: Int64s, first: int, end: int, row: Int64s
) -> int:
    """Read the object at `at`, whose fields are the integers `first` to `end`; the byte after it, or -1."""
    if body[at] != 123:
        return -1
    seen = 0
    while True:
        at = _blank(body, at + 1)
        if body[at] != 34:
            return -1
        field = _find(eights, at + 1, texts, first, end)
        if field < 0 or seen >> (field - first) & 1:
            return -1
        seen |= 1 << (field - first)
        at = _blank(body, at + 1 + meanings[field, _LENGTH])
        if body[at] != 58:
            return -1
        at = _number(body, _blank(body, at + 1), meanings, field, row)
        if at < 0:
            return -1
        at = _blank(body, at)
        if body[at] == 125:
            return at + 1
        if body[at] != 44:
            return -1


@compiled_bare
def _number(body: UInt8s, at: int, meanings: Int64s, field: int, row: Int64s) -> int:
    """Read the integer at `at`; the byte after it, or -1 where it is none or out of the field's bounds."""
    negative = body[at] == 45
    if negative:
        at += 1
    first = at
    value = np.int64(0)
    while 48 <= body[at] <= 57:
        value = value * 10 + (body[at] - 48)
        at += 1
        if at - first > 18:
            return -1
    if at == first or (body[first] == 48 and (negative or at - first > 1)):
        return -1
    if negative:
        value = -value
    if value < meanings[field, _LOW] or value > meanings[field, _HIGH]:
        return -1
    row[meanings[field, _AT]] = value
    return at


@compiled_bare
def _find(eights: UInt64s, at: int, texts: UInt64s, first: int, end: int) -> int:
    """Which of the texts `first` to `end` stands at `at`; -1 where none does."""
    for text in range(first, end):
        if _same(eights, at, texts, text):
            return text
    return -1


@compiled_bare
def _same(eights: UInt64s, at: int, texts: UInt64s, text: int) -> bool:
    if (eights[at] ^ texts[text, 0]) & texts[text, 3]:
        return False
    if (eights[at + 8] ^ texts[text, 1]) & texts[text, 4]:
        return False
    return not (eights[at + 16] ^ texts[text, 2]) & texts[text, 5]


@compiled_bare
def _blank(body: UInt8s, at: int) -> int:
    """The first byte from `at` on that is no white space."""
    while body[at] <= 32 and (body[at] == 32 or body[at] == 10 or body[at] == 13 or body[at] == 9):
        at += 1
    return at


@compiled_bare
def _after(body: UInt8s, at: int) -> int:
    """The byte after the value at `at`, which msgspec has still to find valid; -1 where it does not end."""
    depth = 0
    while True:
        byte = body[at]
        if byte == 34:
            at += 1
            while body[at] != 34:
                if body[at] == 0:
                    return -1
                at += 2 if body[at] == 92 else 1
            at += 1
        elif byte == 123 or byte == 91:
            depth += 1
            at += 1
            continue
        elif byte == 125 or byte == 93:
            if depth == 0:
                return at
            depth -= 1
            at += 1
        elif byte == 0:
            return -1
        elif depth == 0 and (byte == 44 or byte == 32 or byte == 10 or byte == 13 or byte == 9):
            return at
        else:
            at += 1
            continue
        if depth == 0:
            return at
