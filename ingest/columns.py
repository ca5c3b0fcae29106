"""Heartbeats of many requests as columns: one matrix of all rows, turned; then what they share, and what is rare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from ingest.formats.heartbeat import Part
from ingest.rows import ROW_COLUMNS
from ingest.tagging import NO_TAGS, Tagger, TagSet
from tocsin.model.columnar import HeartbeatBatch, Int64s, TextColumn, encode, from_rows
from tocsin.model.heartbeat import PlaybackError
from tocsin.model.tags import IDENTITY_KEYS

PAYLOAD_BYTES_MAX = 4 * 1024 * 1024
"""Half of what a Kafka topic of ours takes as one message."""


@dataclass(slots=True)
class Placed:
    """A part with what the gateway knows of it: place of the viewer, time of arrival, correction of the clock."""

    part: Part
    region: str
    isp: str
    received_ms: int
    shift_ms: int


def build(placed: Sequence[Placed], tagger: Tagger) -> HeartbeatBatch:
    """One batch of all heartbeats of `placed`, in order; at least one."""
    parts = [one.part for one in placed]
    matrix = np.ascontiguousarray(np.concatenate([part.rows.numbers for part in parts]).T)
    numbers: dict[str, Int64s] = dict(zip(ROW_COLUMNS, matrix, strict=True))
    counts = np.array([len(part.rows) for part in parts])
    numbers["sample_k"] = np.repeat(np.array([part.sample_k for part in parts], np.int64), counts)
    numbers["received_ms"] = np.repeat(np.array([one.received_ms for one in placed], np.int64), counts)
    numbers["shift_ms"] = np.repeat(np.array([one.shift_ms for one in placed], np.int64), counts)
    firsts = (np.cumsum(counts) - counts).tolist()
    text = _tag_columns(placed, counts, firsts, tagger)
    text["sdk"] = _repeated([f"{part.sdk.name}/{part.sdk.version}" if part.sdk.name else "" for part in parts], counts)
    errors = {
        first + row: error for first, part in zip(firsts, parts, strict=True) for row, error in part.rows.errors.items()
    }
    if errors:
        _error_columns([errors.get(row) for row in range(matrix.shape[1])], tagger, numbers, text)
    return from_rows([one for part in parts for one in part.rows.session_ids], numbers, text)


def session_hashes(session_ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    """The hash that `partition_of` takes, of each id."""
    return np.fromiter([xxh3_64_intdigest(one.encode()) for one in session_ids], np.uint64, len(session_ids))


def split(batch: HeartbeatBatch, partition: Int64s) -> list[tuple[int, HeartbeatBatch]]:
    """The batch by partition (shape (n,)), order kept within each; one gather, then slices."""
    first = int(partition[0])
    if (partition == first).all():
        return [(first, batch)]
    order = np.argsort(partition, kind="stable")
    names = list(batch.numbers)
    matrix = np.concatenate([*batch.numbers.values(), *[column.codes for column in batch.text.values()]])
    matrix = matrix.reshape(-1, len(batch))[:, order]
    ids = [batch.session_ids[row] for row in order.tolist()]
    found, starts = np.unique(partition[order], return_index=True)
    bounds = [*starts.tolist(), len(batch)]
    parts: list[tuple[int, HeartbeatBatch]] = []
    for number, start, end in zip(found.tolist(), bounds, bounds[1:], strict=False):
        rows = list(matrix[:, start:end])
        text = {
            name: TextColumn(column.values, codes)
            for (name, column), codes in zip(batch.text.items(), rows[len(names) :], strict=True)
        }
        numbers = dict(zip(names, rows, strict=False))
        parts.append((number, HeartbeatBatch(ids[start:end], numbers, text)))
    return parts


def payloads(batch: HeartbeatBatch, bytes_max: int = PAYLOAD_BYTES_MAX) -> list[bytes]:
    """The batch as log payloads: one, or halves of halves where free text makes one larger than the log takes."""
    payload = encode(batch)
    n = len(batch)
    if len(payload) <= bytes_max or n == 1:
        return [payload]
    halves = (np.arange(n // 2), np.arange(n // 2, n))
    return [part for rows in halves for part in payloads(batch.take(rows), bytes_max)]


def _repeated(texts: Sequence[str], counts: Int64s) -> TextColumn:
    column = TextColumn.of(texts)
    return TextColumn(column.values, np.repeat(column.codes, counts))


def _tag_columns(
    placed: Sequence[Placed], counts: Int64s, firsts: Sequence[int], tagger: Tagger
) -> dict[str, TextColumn]:
    index: dict[TagSet, int] = {}
    rows = np.repeat(
        np.array(
            [
                index.setdefault(tagger.resolve(one.part.tags, one.region, one.isp), len(index))
                if one.part.tags or one.region or one.isp
                else index.setdefault(NO_TAGS, len(index))
                for one in placed
            ],
            np.int64,
        ),
        counts,
    )
    for one, first in zip(placed, firsts, strict=True):
        for row, tags in one.part.rows.tags.items():
            merged = tagger.resolve({**one.part.tags, **tags}, one.region, one.isp)
            rows[first + row] = index.setdefault(merged, len(index))
    text: dict[str, TextColumn] = {}
    for key, values in zip(IDENTITY_KEYS, zip(*index, strict=True), strict=True):
        column = TextColumn.of(values)
        text[key] = TextColumn(column.values, column.codes[rows])
    return text


def _error_columns(
    errors: Sequence[PlaybackError | None],
    tagger: Tagger,
    numbers: dict[str, Int64s],
    text: dict[str, TextColumn],
) -> None:
    text["error"] = TextColumn.of(["" if error is None else tagger.error(error.code) for error in errors])
    text["error_message"] = TextColumn.of(["" if error is None else error.message for error in errors])
    numbers["error_fatal"] = np.array([error is not None and error.fatal for error in errors], np.int64)
    numbers["error_technical"] = np.array([error is not None and error.technical for error in errors], np.int64)
