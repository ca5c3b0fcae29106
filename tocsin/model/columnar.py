"""Heartbeats as columns: the one form between the gateway and the store.

A batch holds numpy columns for numbers and dictionary-coded columns for text. On the wire each number column takes the
narrowest integer type that holds it (a constant column takes none at all), text is a dictionary and codes, and the
whole is lz4-compressed: 21 to 48 bytes a heartbeat, against some 700 of JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lz4.frame
import msgspec
import numpy as np
import numpy.typing as npt

from tocsin.model.errors import CorruptError
from tocsin.model.heartbeat import BATCH_COLUMNS, EVENTS_MAX
from tocsin.model.records import HEARTBEATS
from tocsin.model.tags import TAG_KEYS

Int64s = npt.NDArray[np.int64]

TEXT_COLUMNS: tuple[str, ...] = (*TAG_KEYS, "sdk", "error_message")
HEARTBEATS_MAX = 65_536
"""Heartbeats of one message: bounds what a reader allocates."""
BYTES_MAX = 64 * 1024 * 1024

_DTYPES: tuple[np.dtype[Any], ...] = tuple(np.dtype(code) for code in ("<u1", "<i1", "<u2", "<i2", "<i4", "<i8"))
_LIMITS = tuple((int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in _DTYPES)


@dataclass(frozen=True, slots=True)
class TextColumn:
    """Text as codes (shape (n,), int64) into `values`."""

    values: list[str]
    codes: Int64s

    @staticmethod
    def of(texts: Sequence[str]) -> TextColumn:
        """Dictionary-code `texts`, values in order of appearance."""
        index: dict[str, int] = {}
        codes = np.fromiter((index.setdefault(text, len(index)) for text in texts), np.int64, len(texts))
        return TextColumn(list(index), codes)

    def texts(self) -> list[str]:
        """The column as plain strings, length n."""
        values = self.values
        return [values[code] for code in self.codes.tolist()]


@dataclass(frozen=True, slots=True)
class HeartbeatBatch:
    """Columns of n heartbeats: `numbers` has every name of `BATCH_COLUMNS`, `text` every name of `TEXT_COLUMNS`."""

    session_ids: list[str]
    numbers: dict[str, Int64s]
    text: dict[str, TextColumn]

    def __len__(self) -> int:
        return len(self.session_ids)

    def take(self, rows: Int64s) -> HeartbeatBatch:
        """The heartbeats at `rows` (positions), in that order; dictionaries are shared."""
        ids = self.session_ids
        return HeartbeatBatch(
            [ids[row] for row in rows.tolist()],
            {name: column[rows] for name, column in self.numbers.items()},
            {name: TextColumn(column.values, column.codes[rows]) for name, column in self.text.items()},
        )


class _Header(msgspec.Struct, array_like=True):
    n: int
    numbers: list[tuple[str, int, int]]  # name, dtype index (-1: constant), constant
    text: list[tuple[str, list[str], int]]  # name, dictionary, dtype index (-1: all code 0)


_encode_header = msgspec.msgpack.Encoder().encode
_decode_header = msgspec.msgpack.Decoder(_Header).decode


def _narrow(columns: Sequence[Int64s]) -> list[tuple[int, int, bytes]]:
    """(dtype index or -1, constant, bytes) of the narrowest form of each column, all of one length.

    Limits are found over one matrix: at 250 heartbeats a call for each column would cost four times as much.
    """
    matrix = np.concatenate(columns).reshape(len(columns), -1)
    narrowed: list[tuple[int, int, bytes]] = []
    for column, low, high in zip(matrix, matrix.min(axis=1).tolist(), matrix.max(axis=1).tolist(), strict=True):
        if low == high:
            narrowed.append((-1, low, b""))
            continue
        index = next(at for at, (lowest, highest) in enumerate(_LIMITS) if lowest <= low and high <= highest)
        narrowed.append((index, 0, column.astype(_DTYPES[index]).tobytes()))
    return narrowed


def encode(batch: HeartbeatBatch) -> bytes:
    """The batch as one log payload; at least one and at most `HEARTBEATS_MAX` heartbeats."""
    if not 0 < len(batch) <= HEARTBEATS_MAX:
        raise ValueError(f"encoding {len(batch)} heartbeats: a message holds 1 to {HEARTBEATS_MAX}; split the batch")
    numbers: list[tuple[str, int, int]] = []
    text: list[tuple[str, list[str], int]] = []
    parts: list[bytes] = []
    narrowed = iter(
        _narrow([batch.numbers[name] for name in BATCH_COLUMNS] + [batch.text[name].codes for name in TEXT_COLUMNS])
    )
    for name, (index, constant, data) in zip(BATCH_COLUMNS, narrowed, strict=False):
        numbers.append((name, index, constant))
        parts.append(data)
    for name, (index, constant, data) in zip(TEXT_COLUMNS, narrowed, strict=True):
        column = batch.text[name]
        values = column.values if index >= 0 else [column.values[constant]]
        text.append((name, values, index))
        parts.append(data)
    header = _encode_header(_Header(len(batch), numbers, text))
    ids = "\n".join(batch.session_ids).encode()
    body = b"".join((len(header).to_bytes(4, "little"), header, len(ids).to_bytes(4, "little"), ids, *parts))
    compressed: bytes = lz4.frame.compress(body, compression_level=0, store_size=True)
    return HEARTBEATS + compressed


@dataclass(frozen=True, slots=True)
class NarrowBatch:
    """A checked message whose columns are as narrow as on the wire: an integer where a column is constant.

    `numbers` has every name of `BATCH_COLUMNS`, `text` (dictionary, codes) for every name of `TEXT_COLUMNS`.
    """

    session_ids: list[str]
    numbers: dict[str, int | npt.NDArray[Any]]
    text: dict[str, tuple[list[str], int | npt.NDArray[Any]]]

    def __len__(self) -> int:
        return len(self.session_ids)


def decode(payload: bytes) -> HeartbeatBatch:
    """The batch of a payload made by `encode`; raises `CorruptError` on anything else, in bounded memory."""
    narrow = decode_narrow(payload)
    n = len(narrow)
    return HeartbeatBatch(
        narrow.session_ids,
        {name: _widened(column, n) for name, column in narrow.numbers.items()},
        {name: TextColumn(values, _widened(codes, n)) for name, (values, codes) in narrow.text.items()},
    )


def decode_narrow(payload: bytes) -> NarrowBatch:
    """As `decode`, for a reader that widens the columns of many messages at once."""
    try:
        return _decode(payload)
    except (RuntimeError, ValueError, msgspec.MsgspecError, KeyError, IndexError, OverflowError) as error:
        raise CorruptError(f"decoding a heartbeat message of {len(payload)} bytes: {error}; quarantined") from error


def _decode(payload: bytes) -> NarrowBatch:
    if payload[:4] != HEARTBEATS:
        raise ValueError(f"first bytes are {payload[:4]!r}, not {HEARTBEATS!r}")
    if lz4.frame.get_frame_info(payload[4:])["content_size"] > BYTES_MAX:
        raise ValueError(f"it inflates to more than {BYTES_MAX} bytes")
    body: bytes = lz4.frame.decompress(payload[4:])
    at = 4 + int.from_bytes(body[:4], "little")
    header = _decode_header(body[4:at])
    n = header.n
    if not 0 < n <= HEARTBEATS_MAX:
        raise ValueError(f"it says {n} heartbeats")
    end = at + 4 + int.from_bytes(body[at : at + 4], "little")
    session_ids = body[at + 4 : end].decode().split("\n")
    at = end
    numbers: dict[str, int | npt.NDArray[Any]] = dict.fromkeys(BATCH_COLUMNS, 0)
    text: dict[str, tuple[list[str], int | npt.NDArray[Any]]] = dict.fromkeys(TEXT_COLUMNS, ([""], 0))
    for name, index, constant in header.numbers:
        column, at = _column(body, at, n, index, constant)
        if name in numbers:
            numbers[name] = column
    for name, values, index in header.text:
        column, at = _column(body, at, n, index, 0)
        if _outside(column, len(values)):
            raise ValueError(f"a code of text column {name} is outside its dictionary")
        if name in text:
            text[name] = (values, column)
    if len(session_ids) != n or at != len(body):
        raise ValueError(f"{len(session_ids)} session ids for {n} heartbeats, {len(body) - at} bytes over")
    return NarrowBatch(session_ids, numbers, text)


def _column(body: bytes, at: int, n: int, index: int, constant: int) -> tuple[int | npt.NDArray[Any], int]:
    if index == -1:
        if not _LIMITS[-1][0] <= constant <= _LIMITS[-1][1]:
            raise ValueError(f"a constant column is {constant}, beyond 64 bits")
        return constant, at
    dtype = _DTYPES[index]
    return np.frombuffer(body, dtype, n, at), at + n * dtype.itemsize


def _outside(codes: int | npt.NDArray[Any], values: int) -> bool:
    if isinstance(codes, int):
        return not 0 <= codes < values
    return int(codes.max()) >= values or (codes.dtype.kind == "i" and int(codes.min()) < 0)


def _widened(column: int | npt.NDArray[Any], n: int) -> Int64s:
    return np.full(n, column, np.int64) if isinstance(column, int) else column.astype(np.int64)


def concat(batches: Iterable[HeartbeatBatch]) -> HeartbeatBatch:
    """One batch of all heartbeats in order; dictionaries are merged."""
    parts = list(batches)
    if len(parts) == 1:
        return parts[0]
    numbers = {name: np.concatenate([part.numbers[name] for part in parts]) for name in BATCH_COLUMNS}
    text = {name: _concat_text([part.text[name] for part in parts]) for name in TEXT_COLUMNS}
    return HeartbeatBatch([sid for part in parts for sid in part.session_ids], numbers, text)


def _concat_text(columns: list[TextColumn]) -> TextColumn:
    index: dict[str, int] = {}
    codes = [
        np.array([index.setdefault(value, len(index)) for value in column.values], np.int64)[column.codes]
        for column in columns
    ]
    return TextColumn(list(index), np.concatenate(codes))


def from_rows(session_ids: list[str], numbers: Mapping[str, Int64s], text: Mapping[str, TextColumn]) -> HeartbeatBatch:
    """A batch from the columns given; missing number columns are 0 (`sample_k` 1), missing text is empty."""
    n = len(session_ids)
    zero = np.zeros(n, np.int64)
    full = {name: numbers.get(name, zero) for name in BATCH_COLUMNS}
    if "sample_k" not in numbers:
        full["sample_k"] = np.ones(n, np.int64)
    empty = TextColumn([""], zero)
    return HeartbeatBatch(session_ids, full, {name: text.get(name, empty) for name in TEXT_COLUMNS})


assert EVENTS_MAX < HEARTBEATS_MAX  # noqa: S101  one request always fits one message
