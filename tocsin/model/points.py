"""Published points as one log payload: gauges, counters and rates of other services, artwork, probe findings.

A point is (name, tags, type, time, value). `type` says how several points of one series in one step merge: `gauge` the
last wins, `sum` they add, `rate` time-weighted mean. Series are sent once a message and referred to by code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import lz4.frame
import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from tocsin.model.errors import CorruptError
from tocsin.model.records import POINTS

PointType = Literal["gauge", "sum", "rate"]
POINTS_MAX = 100_000
BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Point:
    """One published value; `tags` without the name."""

    name: str
    tags: Mapping[str, str]
    ts_ms: int
    value: float
    type: PointType = "gauge"


class Series(msgspec.Struct, array_like=True, frozen=True):
    """Identity of a series: name, sorted (key, value) tags, merge type."""

    name: str
    tags: tuple[tuple[str, str], ...]
    type: PointType

    @property
    def series_id(self) -> int:
        """Stable 64-bit hash of name and tags."""
        return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode((self.name, self.tags)))


@dataclass(frozen=True, slots=True)
class PointBatch:
    """n points: `codes` into `series`, times in epoch ms, values; each of shape (n,)."""

    series: list[Series]
    codes: npt.NDArray[np.int64]
    ts_ms: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.codes)


class _Wire(msgspec.Struct, array_like=True):
    series: list[Series]
    codes: bytes
    ts_ms: bytes
    values: bytes


_decode = msgspec.msgpack.Decoder(_Wire).decode


def batch(points: Iterable[Point]) -> PointBatch:
    """The points as columns, in the order given."""
    index: dict[Series, int] = {}
    codes: list[int] = []
    times: list[int] = []
    values: list[float] = []
    for point in points:
        series = Series(point.name, tuple(sorted(point.tags.items())), point.type)
        codes.append(index.setdefault(series, len(index)))
        times.append(point.ts_ms)
        values.append(point.value)
    return PointBatch(list(index), np.array(codes, np.int64), np.array(times, np.int64), np.array(values, np.float64))


def encode(points: PointBatch) -> bytes:
    """The batch as one log payload."""
    if not 0 < len(points) <= POINTS_MAX:
        raise ValueError(f"encoding {len(points)} points: a message holds 1 to {POINTS_MAX}; split the batch")
    wire = _Wire(
        points.series,
        points.codes.astype("<i4").tobytes(),
        points.ts_ms.astype("<i8").tobytes(),
        points.values.astype("<f8").tobytes(),
    )
    compressed: bytes = lz4.frame.compress(msgspec.msgpack.encode(wire), store_size=True)
    return POINTS + compressed


def decode(payload: bytes) -> PointBatch:
    """The batch of a payload made by `encode`; raises `CorruptError` on anything else."""
    try:
        inflated = lz4.frame.get_frame_info(payload[4:])["content_size"]
        if inflated > BYTES_MAX:
            raise CorruptError(f"decoding a message of published points: it inflates to {inflated} bytes")
        wire = _decode(lz4.frame.decompress(payload[4:]))
        codes = np.frombuffer(wire.codes, "<i4").astype(np.int64)
        times = np.frombuffer(wire.ts_ms, "<i8").astype(np.int64)
        values = np.frombuffer(wire.values, "<f8").astype(np.float64)
    except (RuntimeError, ValueError, msgspec.MsgspecError) as error:
        raise CorruptError(f"decoding a message of published points, {len(payload)} bytes: {error}") from error
    fits = len(codes) == len(times) == len(values) and 0 < len(codes) <= POINTS_MAX
    if not fits or int(codes.min()) < 0 or int(codes.max()) >= len(wire.series):
        raise CorruptError(f"decoding a message of published points: {len(codes)} codes, {len(wire.series)} series")
    return PointBatch(wire.series, codes, times, values)
