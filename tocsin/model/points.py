"""Published points as one log payload: gauges, counters and rates of other services, artwork, probe findings.

A point is (name, tags, type, time, value). The type says what the points of one series in one step come to
(`query.merging`): of `gauge` the last, of `sum` their sum, `rate` is weighted by time, `counter` rises and becomes a
rate. Series are sent once a message and referred to by code.

A series is sent again with every step, so its parsed form is kept by its bytes (`Known`): a message of series that
were seen before costs a look-up each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import lz4.frame
import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from tocsin.model.errors import CorruptError
from tocsin.model.records import POINTS

PointType = Literal["gauge", "sum", "rate", "counter"]
POINTS_MAX = 100_000
BYTES_MAX = 64 * 1024 * 1024
KNOWN_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of keys that a `Known` holds before it starts over; what is made of them takes some ten times that."""

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Point:
    """One published value; `tags` without the name."""

    name: str
    tags: Mapping[str, str]
    ts_ms: int
    value: float
    type: PointType = "gauge"


class _Identity(msgspec.Struct, array_like=True, frozen=True):
    name: str
    tags: tuple[tuple[str, str], ...]
    type: PointType


@dataclass(frozen=True, slots=True)
class Series:
    """Identity of a series: name, sorted (key, value) tags, type; and made of it, its bytes and a stable 64-bit hash.

    `atlas.dstype` is a tag only where a series says it is a rate, which one that says nothing is, too: as in Atlas
    those are two series.
    """

    name: str
    tags: tuple[tuple[str, str], ...]
    type: PointType
    packed: bytes = field(init=False, repr=False, compare=False)
    series_id: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Pack and hash."""
        packed = msgspec.msgpack.encode(_Identity(self.name, self.tags, self.type))
        object.__setattr__(self, "packed", packed)
        object.__setattr__(self, "series_id", xxhash.xxh3_64_intdigest(packed))


class Known(dict[bytes, _Made]):
    """What `make` made of bytes, kept; once the keys hold more than `bytes_max`, all of it is forgotten."""

    def __init__(self, make: Callable[[bytes], _Made], bytes_max: int = KNOWN_BYTES_MAX) -> None:
        super().__init__()
        self._make, self._bytes_max, self._bytes = make, bytes_max, 0

    def __missing__(self, key: bytes) -> _Made:
        """Make, keep and return it; what `make` raises is passed on, and nothing is kept."""
        made = self._make(key)
        self._bytes += len(key)
        if self._bytes > self._bytes_max:
            self.clear()
            self._bytes = len(key)
        self[key] = made
        return made


@dataclass(frozen=True, slots=True)
class PointBatch:
    """n points: `codes` into `series`, times in epoch ms, values; each of shape (n,).

    `message_id`: a message with the same id holds the same points again; 0 where nobody can tell.
    """

    series: Sequence[Series]
    codes: npt.NDArray[np.int64]
    ts_ms: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    message_id: int = 0

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: npt.NDArray[np.int64], message_id: int = 0) -> PointBatch:
        """The points at `rows`, in that order, with the series that they need."""
        codes = self.codes[rows]
        used = np.zeros(len(self.series), np.bool_)
        used[codes] = True
        series = [self.series[at] for at in np.flatnonzero(used).tolist()]
        return PointBatch(series, (np.cumsum(used) - 1)[codes], self.ts_ms[rows], self.values[rows], message_id)


class _Wire(msgspec.Struct, array_like=True):
    series: list[msgspec.Raw]
    codes: bytes
    ts_ms: bytes
    values: bytes
    message_id: int = 0


_decode = msgspec.msgpack.Decoder(_Wire).decode
_decode_identity = msgspec.msgpack.Decoder(_Identity).decode


def _unpacked(packed: bytes) -> Series:
    identity = _decode_identity(packed)
    return Series(identity.name, identity.tags, identity.type)


_known: Known[Series] = Known(_unpacked)


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
        [msgspec.Raw(series.packed) for series in points.series],
        points.codes.astype("<i4").tobytes(),
        points.ts_ms.astype("<i8").tobytes(),
        points.values.astype("<f8").tobytes(),
        points.message_id,
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
        series = [_known[bytes(packed)] for packed in wire.series]
        codes = np.frombuffer(wire.codes, "<i4").astype(np.int64)
        times = np.frombuffer(wire.ts_ms, "<i8").astype(np.int64)
        values = np.frombuffer(wire.values, "<f8").astype(np.float64)
    except (RuntimeError, ValueError, msgspec.MsgspecError) as error:
        raise CorruptError(f"decoding a message of published points, {len(payload)} bytes: {error}") from error
    fits = len(codes) == len(times) == len(values) and 0 < len(codes) <= POINTS_MAX
    if not fits or int(codes.min()) < 0 or int(codes.max()) >= len(series):
        raise CorruptError(f"decoding a message of published points: {len(codes)} codes, {len(series)} series")
    return PointBatch(series, codes, times, values, wire.message_id)
