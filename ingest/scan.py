"""The events of an envelope from JSON straight into rows of numbers, by one compiled loop.

    rows, envelope = scan(body, limits.event_bytes)      # or None: not in the form that nearly every player sends

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

from ingest.rows import ROW_COLUMNS, Rows
from ingest.scan_loop import AT, FIRST, HIGH, ID, INT, KIND, RATE, SPAN, WORD, UInt64s, scan_loop
from tocsin.model.columnar import Int64s
from tocsin.model.heartbeat import (
    EVENTS_MAX,
    OUTCOMES,
    REASONS,
    SESSION_ID_ALPHABET,
    STATES,
    Bitrate,
    Event,
    LooseEnvelope,
    PlaybackError,
    decode_loose,
)

_PAD = bytes(64)
"""Zeros after the body: JSON has no zero byte, so no loop needs to look for the end."""
_WIDTH = len(ROW_COLUMNS)
_COLUMN = {name: at for at, name in enumerate(ROW_COLUMNS)}
_SPANS = {"error": 0, "tags": 2}
"""Values that are left to msgspec: the column of where one begins in the body; the next is where it ends."""
_SCRATCH_BYTES = 65_536
_WORDS: dict[str, tuple[str, ...]] = {"reason": REASONS, "state": STATES, "outcome": OUTCOMES}
_TEXT_BYTES = 24


def _tables() -> tuple[UInt64s, Int64s, int, int]:
    """Texts that the loop knows, each with its closing quote, and what each means; number of fields, and which of them
    must be there, as bits. They travel as arrays: a compiled function must not keep another module's constants.

    Fields come first, then the two of a bitrate, then words, then `null` and `events"`. A text's meaning: length, kind,
    column, bounds, and the first of its words and the one after the last; of a word its code, as `LOW`.
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
        meaning = [len(one.name) + 1, SPAN, 0, 0, 0, 0, 0]
        if one.name in _SPANS:
            meaning[KIND : AT + 1] = SPAN, _SPANS[one.name]
        elif one.name == "session_id":
            assert isinstance(one.type, msgspec.inspect.StrType)  # noqa: S101
            meaning[KIND : HIGH + 1] = ID, 0, one.type.min_length or 0, one.type.max_length or 0
        elif one.name in _WORDS:
            n = len([word for word in _WORDS[one.name] if word])
            meaning[KIND : AT + 1] = WORD, _COLUMN[one.name]
            meaning[FIRST:] = words, words + n
            words += n
        elif one.name == "bitrate_kbps":
            meaning[KIND] = RATE
            meaning[FIRST:] = first_rate, first_rate + len(rate.fields)
        else:
            assert number is not None  # noqa: S101
            name = one.name if one.name in _COLUMN else f"bitrate_{one.name}_kbps"
            meaning[KIND : HIGH + 1] = INT, _COLUMN[name], number.ge or 0, number.le or 0
        texts.append(one.name)
        meanings.append(meaning)
    for word, code in ((word, code) for group in _WORDS.values() for code, word in enumerate(group) if word):
        texts.append(word)
        meanings.append([len(word) + 1, WORD, 0, code, 0, 0, 0])
    quoted = [*[f'{text}"'.encode() for text in texts], b"null", b'events"']
    packed = b"".join(text.ljust(_TEXT_BYTES, b"\0") for text in quoted)
    masks = b"".join((b"\xff" * len(text)).ljust(_TEXT_BYTES, b"\0") for text in quoted)
    assert max(map(len, quoted)) <= _TEXT_BYTES  # noqa: S101
    assert first_rate < 63  # noqa: S101  a bit a field
    required = sum(1 << at for at, one in enumerate(event.fields) if one.required)
    eights = [np.frombuffer(one, "<u8").reshape(-1, _TEXT_BYTES // 8) for one in (packed, masks)]
    return np.concatenate(eights, axis=1), np.array(meanings, np.int64), first_rate, required


_TEXTS, _MEANINGS, _FIELDS, _REQUIRED = _tables()
_ID_BYTES_MAX = int(_MEANINGS[_MEANINGS[:, KIND] == ID, HIGH].max())
_ID_BYTES = np.zeros(256, np.bool_)
_ID_BYTES[np.frombuffer(SESSION_ID_ALPHABET, np.uint8)] = True
_DEFAULTS = {one.name: one.default for one in msgspec.structs.fields(Event) if isinstance(one.default, int)}
_EMPTY = np.array([_DEFAULTS.get(name, 0) for name in ROW_COLUMNS], np.int64)

MALFORMED = (msgspec.MsgspecError, RecursionError, UnicodeError)
"""What msgspec raises on bytes that are not what they should be."""
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


def scan(body: bytes, event_bytes: int) -> tuple[Rows, LooseEnvelope] | None:
    """The rows of an envelope's events, each of at most `event_bytes`, and the envelope; None where msgspec must look.

    msgspec decodes the envelope with `[]` in place of its events, or with them where they have fields nobody knows.
    """
    own = _scratch
    size = len(body)
    if size + len(_PAD) > len(own.body):
        own.hold(size)
    own.body_view[:size] = body
    own.body_view[size : size + len(_PAD)] = _PAD
    n, start, end, ids_end, spanned, unknown = scan_loop(
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
        return rows, decode_loose(body if unknown else body[:start] + b"[]" + body[end:])
    except MALFORMED:
        return None


def warm_up() -> None:
    """Compile the loop, or load it (a second), before the first request waits for it."""
    scan(b"{}", 0)


def _decoded(body: bytes, spans: Int64s, at: int, decode: Callable[[bytes], Any]) -> dict[int, Any]:
    """What is there of a value, by row."""
    values = [(row, decode(body[spans[row, at] : spans[row, at + 1]])) for row in np.flatnonzero(spans[:, at]).tolist()]
    return {row: value for row, value in values if value}
