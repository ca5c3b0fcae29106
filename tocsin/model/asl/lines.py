"""Lines: what an expression evaluates to, as one matrix, so that every word works on all lines at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Tags = Mapping[str, str]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def tag_label(tags: Tags) -> str:
    """The label of a line that has none of its own: `cdn=b, name=qoe.sps`."""
    return ", ".join(f"{k}={tags[k]}" for k in sorted(tags)) if tags else "NO TAGS"


@dataclass(frozen=True, slots=True)
class Head:
    """What a line is: its tags, its label (None: made from the tags when asked for), and how it consolidates.

    `gauge` tells that the average over a longer step counts only points that are there; a rate counts a missing point
    as no activity.
    """

    tags: Tags
    label: str | None = None
    gauge: bool = False

    @property
    def text(self) -> str:
        """The label."""
        return tag_label(self.tags) if self.label is None else self.label


@dataclass(frozen=True, slots=True)
class Lines:
    """`heads[i]` describes `values[i]`, a row of float64 on the grid of the evaluation; NaN is "no value".

    `messages` are remarks on the result ("3 of 8 lines matched filter").
    """

    heads: tuple[Head, ...]
    values: Floats
    messages: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.heads)

    def with_values(self, values: Floats, heads: Iterable[Head] | None = None) -> Lines:
        """The same lines with other values, and other heads where given; remarks are dropped."""
        return Lines(self.heads if heads is None else tuple(heads), values)

    def map(self, change: Callable[[Floats], Floats]) -> Lines:
        """Apply a function to every value; labels are made from the tags again."""
        heads = tuple(Head(h.tags, None, h.gauge) for h in self.heads)
        with np.errstate(all="ignore"):
            return Lines(heads, change(self.values))

    def take(self, rows: Sequence[int]) -> Lines:
        """Some of the lines, in the order asked for."""
        return Lines(tuple(self.heads[i] for i in rows), self.values[np.asarray(rows, dtype=np.intp)])


def empty(points: int) -> Lines:
    """No line at all."""
    return Lines((), np.empty((0, points)))


def no_data(points: int) -> Lines:
    """The one line that stands for "nothing matched"."""
    return constant(points, np.nan, {"name": "NO_DATA"}, "NO DATA")


def constant(points: int, value: float, tags: Tags, label: str) -> Lines:
    """One line of one value."""
    return Lines((Head(tags, label, gauge=True),), np.full((1, points), value))


def add_nan(a: Floats, b: Floats) -> Floats:
    """Sum in which a missing value counts as 0 unless both are missing."""
    return np.where(np.isnan(a), b, np.where(np.isnan(b), a, a + b))


def truth(values: Floats) -> Bools:
    """Which values hold: neither missing nor (nearly) zero."""
    return ~np.isnan(values) & (np.abs(values) >= 1e-12)


@dataclass(frozen=True, slots=True)
class Stats:
    """Summary of the values of each line over a range; arrays of one entry a line, NaN where a line has no value."""

    count: Floats
    minimum: Floats
    maximum: Floats
    last: Floats
    total: Floats

    @property
    def avg(self) -> Floats:
        """Mean of the values that are there."""
        with np.errstate(all="ignore"):
            return np.where(self.count > 0, self.total / self.count, np.nan)

    def get(self, name: str) -> Floats | None:
        """By the name that the language uses; None when there is no such statistic."""
        return {
            "avg": self.avg,
            "max": self.maximum,
            "min": self.minimum,
            "last": self.last,
            "total": self.total,
            "count": self.count,
        }.get(name)


STATISTICS = ("avg", "max", "min", "last", "total", "count")


def summarize(values: Floats) -> Stats:
    """Statistics of every row."""
    there = ~np.isnan(values)
    count = there.sum(axis=1).astype(np.float64)
    none = count == 0
    if values.shape[1] == 0:
        gone = np.full(len(values), np.nan)
        return Stats(count, gone, gone, gone, gone)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        minimum, maximum = np.nanmin(values, axis=1), np.nanmax(values, axis=1)
    position = values.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    last = values[np.arange(len(values)), position]
    total = np.where(none, np.nan, np.nansum(values, axis=1))
    return Stats(count, minimum, maximum, np.where(none, np.nan, last), total)
