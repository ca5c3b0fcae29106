"""The compiled loop of `ingest.scan`: bytes of JSON in, rows of numbers out, or "not sure".

It must not know another module's constants (they would stay in its cache): what fields there are comes as two tables,
a text and its meaning by index. A text is three words of eight bytes and their masks, compared with the body's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tocsin.model.columnar import Int64s
from tocsin.model.compiled import compiled_bare

UInt8s = npt.NDArray[np.uint8]
UInt64s = npt.NDArray[np.uint64]

QUOTE, COLON, COMMA, BACKSLASH, MINUS, BRACE, BRACE_END, BRACKET, BRACKET_END = b'":,\\-{}[]'
SPACE, FEED, RETURN, TAB, ZERO, NINE = b" \n\r\t09"

INT, WORD, RATE, ID, SPAN, UNKNOWN = range(6)
LENGTH, KIND, AT, LOW, HIGH, FIRST, END = range(7)


@compiled_bare
def scan_loop(
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
    if body[at] != BRACE:
        return nothing
    while True:
        at = _blank(body, at + 1)
        if body[at] != QUOTE:
            return nothing
        at += 1
        is_events = _same(eights, at, texts, len(texts) - 1)
        while body[at] != QUOTE:
            if body[at] == BACKSLASH or body[at] == 0:
                return nothing
            at += 1
        at = _blank(body, at + 1)
        if body[at] != COLON:
            return nothing
        at = _blank(body, at + 1)
        if is_events:
            if body[at] != BRACKET:
                return nothing
            start = at
            n, end, ids_end, spanned, unknown = _events(
                body, eights, at, texts, meanings, fields, required, event_bytes, id_bytes, empty, follows,
                numbers, spans, ids,
            )  # fmt: skip
            if n < 0:
                return nothing
            at = end
        else:
            at = _after(body, at)
            if at < 0:
                return nothing
        at = _blank(body, at)
        if body[at] == BRACE_END:
            return n, start, end, ids_end, spanned, unknown
        if body[at] != COMMA:
            return nothing


@compiled_bare
def _events(
    body: UInt8s, eights: UInt64s, at: int, texts: UInt64s, meanings: Int64s, fields: int, required: int,
    event_bytes: int, id_bytes: npt.NDArray[np.bool_], empty: Int64s, follows: Int64s,
    numbers: Int64s, spans: Int64s, ids: UInt8s,
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """The array at `at`: (events, the byte after it, bytes of ids, errors and tags, unknown fields); or -1."""
    n, ids_end, spanned, unknown = 0, 0, 0, 0
    while True:
        first = _blank(body, at + 1)
        if body[first] != BRACE or n == len(numbers):
            return -1, 0, 0, 0, 0
        for i in range(numbers.shape[1]):
            numbers[n, i] = empty[i]
        for i in range(spans.shape[1]):
            spans[n, i] = 0
        at, ids_end, spans_here, unknown_here = _event(
            body, eights, first, texts, meanings, fields, required, id_bytes, follows,
            numbers[n], spans[n], ids, ids_end,
        )  # fmt: skip
        if at < 0 or at - first > event_bytes:
            return -1, 0, 0, 0, 0
        n += 1
        spanned += spans_here
        unknown += unknown_here
        at = _blank(body, at)
        if body[at] == BRACKET_END:
            return n, at + 1, ids_end, spanned, unknown
        if body[at] != COMMA:
            return -1, 0, 0, 0, 0


@compiled_bare
def _event(
    body: UInt8s, eights: UInt64s, at: int, texts: UInt64s, meanings: Int64s, fields: int, required: int,
    id_bytes: npt.NDArray[np.bool_], follows: Int64s,
    row: Int64s, span: Int64s, ids: UInt8s, ids_end: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """The event at `at`: (the byte after it, bytes of ids, errors and tags, unknown fields); or -1.

    `follows` has the field that came after each one lately, which is tried first.
    """
    nothing = -1, 0, 0, 0
    spanned, unknown = 0, 0
    seen = 0
    before = fields
    while True:
        at = _blank(body, at + 1)
        if body[at] != QUOTE:
            return nothing
        at += 1
        field = follows[before]
        if not _same(eights, at, texts, field):
            field = _find(eights, at, texts, 0, fields)
        if field < 0:
            while body[at] != QUOTE:
                if body[at] < SPACE or body[at] > 126 or body[at] == BACKSLASH:
                    return nothing
                at += 1
            at += 1
            kind = UNKNOWN
        else:
            if seen >> field & 1:
                return nothing
            seen |= 1 << field
            follows[before] = field
            before = field
            at += meanings[field, LENGTH]
            kind = meanings[field, KIND]
        at = _blank(body, at)
        if body[at] != COLON:
            return nothing
        at = _blank(body, at + 1)
        if kind == INT:
            at = _number(body, at, meanings, field, row)
        elif kind == ID:
            first = at + 1
            if body[at] != QUOTE:
                return nothing
            at = first
            while id_bytes[body[at]]:
                at += 1
            if body[at] != QUOTE or at - first < meanings[field, LOW] or at - first > meanings[field, HIGH]:
                return nothing
            for i in range(first, at):
                ids[ids_end] = body[i]
                ids_end += 1
            ids[ids_end] = FEED
            ids_end += 1
            at += 1
        elif kind == SPAN:
            spanned += 1
            span[meanings[field, AT]] = at
            at = _after(body, at)
            span[meanings[field, AT] + 1] = at
        elif kind == UNKNOWN:
            unknown += 1
            at = _after(body, at)
        elif _same(eights, at, texts, len(texts) - 2):
            if required >> field & 1:
                return nothing
            at += 4
        elif kind == WORD:
            if body[at] != QUOTE:
                return nothing
            word = _find(eights, at + 1, texts, meanings[field, FIRST], meanings[field, END])
            if word < 0:
                return nothing
            row[meanings[field, AT]] = meanings[word, LOW]
            at += 1 + meanings[word, LENGTH]
        else:
            at = _rate(body, eights, at, texts, meanings, meanings[field, FIRST], meanings[field, END], row)
        if at < 0:
            return nothing
        at = _blank(body, at)
        if body[at] == BRACE_END:
            break
        if body[at] != COMMA:
            return nothing
    if seen & required != required:
        return nothing
    return at + 1, ids_end, spanned, unknown


@compiled_bare
def _rate(
    body: UInt8s, eights: UInt64s, at: int, texts: UInt64s, meanings: Int64s, first: int, end: int, row: Int64s
) -> int:
    """Read the object at `at`, whose fields are the integers `first` to `end`; the byte after it, or -1."""
    if body[at] != BRACE:
        return -1
    seen = 0
    while True:
        at = _blank(body, at + 1)
        if body[at] != QUOTE:
            return -1
        field = _find(eights, at + 1, texts, first, end)
        if field < 0 or seen >> (field - first) & 1:
            return -1
        seen |= 1 << (field - first)
        at = _blank(body, at + 1 + meanings[field, LENGTH])
        if body[at] != COLON:
            return -1
        at = _number(body, _blank(body, at + 1), meanings, field, row)
        if at < 0:
            return -1
        at = _blank(body, at)
        if body[at] == BRACE_END:
            return at + 1
        if body[at] != COMMA:
            return -1


@compiled_bare
def _number(body: UInt8s, at: int, meanings: Int64s, field: int, row: Int64s) -> int:
    """Read the integer at `at`; the byte after it, or -1 where it is none or out of the field's bounds."""
    negative = body[at] == MINUS
    if negative:
        at += 1
    first = at
    value = np.int64(0)
    while ZERO <= body[at] <= NINE:
        value = value * 10 + (body[at] - ZERO)
        at += 1
        if at - first > 18:
            return -1
    if at == first or (body[first] == ZERO and (negative or at - first > 1)):
        return -1
    if negative:
        value = -value
    if value < meanings[field, LOW] or value > meanings[field, HIGH]:
        return -1
    row[meanings[field, AT]] = value
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
    while body[at] in (SPACE, FEED, RETURN, TAB):
        at += 1
    return at


@compiled_bare
def _after(body: UInt8s, at: int) -> int:
    """The byte after the value at `at`, which msgspec has still to find valid; -1 where it does not end."""
    depth = 0
    while True:
        byte = body[at]
        if byte == QUOTE:
            at += 1
            while body[at] != QUOTE:
                if body[at] == 0:
                    return -1
                at += 2 if body[at] == BACKSLASH else 1
            at += 1
        elif byte in (BRACE, BRACKET):
            depth += 1
            at += 1
            continue
        elif byte in (BRACE_END, BRACKET_END):
            if depth == 0:
                return at
            depth -= 1
            at += 1
        elif byte == 0:
            return -1
        elif depth == 0 and (byte in (COMMA, SPACE, FEED, RETURN, TAB)):
            return at
        else:
            at += 1
            continue
        if depth == 0:
            return at
