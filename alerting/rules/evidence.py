"""What a rule looks at and what it answers: arrays over all slices at once.

Axis 0 of every array is the slice (S of them). The core knows four shapes of evidence:

* `share`: x of y countable things went wrong (failed plays of ended plays);
* `ratio`: x over y are sums over session-minutes with their second moments (stalled ms over watched ms);
* `volume`: x alone is a count of events that should keep coming (plays);
* `level`: x over y is a mean that may have either sign, and any change of it hurts (A/V offset).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Shape = Literal["share", "ratio", "volume", "level"]
Direction = Literal["up", "down"]

OK, NO_DATA, NO_BASELINE, NEW_SLICE = 0, 1, 2, 3
"""States of a slice's answer; a `NEW_SLICE` was judged against its parent and never pages alone."""

STATE_NAMES = ("ok", "no data", "no baseline", "new slice")


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over one window, each of shape (S,): n session-minutes, Σx, Σy, and for ratios Σx², Σxy, Σy²."""

    n: Floats
    x: Floats
    y: Floats
    xx: Floats
    xy: Floats
    yy: Floats

    @staticmethod
    def zeros(slices: int) -> Sums:
        """No observation at all."""
        zero = np.zeros(slices)
        return Sums(zero, zero, zero, zero, zero, zero)

    @staticmethod
    def of_counts(x: Floats, y: Floats) -> Sums:
        """Counts without moments: every y is a unit of its own."""
        return Sums(y, x, y, x, x, y)

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.n + other.n, self.x + other.x, self.y + other.y,
            self.xx + other.xx, self.xy + other.xy, self.yy + other.yy,
        )  # fmt: skip

    def take(self, at: Ints | Bools) -> Sums:
        """The same sums of the slices `at`."""
        return Sums(self.n[at], self.x[at], self.y[at], self.xx[at], self.xy[at], self.yy[at])


@dataclass(frozen=True, slots=True)
class Evidence:
    """One metric in one window, over all slices.

    `base` sums the middle weeks at this minute of the week, `long_run` all of the history that is loaded; `weeks` (S,)
    counts the weeks behind `base`. `phi` (S,) is the squared relative wobble of a slice's rate, `d` how many times one
    bad session counts in the window. `live_x`, `live_y` (S, T) are minutes, oldest first, for rules without history.
    """

    shape: Shape
    direction: Direction
    window_minutes: int
    now: Sums
    base: Sums
    long_run: Sums
    weeks: Ints
    phi: Floats
    d: float = 1.0
    parent: Ints | None = None
    live_x: Floats | None = None
    live_y: Floats | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """Gates and limits of a rule, for all its slices. `effect` and `excess` are minima, `min_volume` is of y or n."""

    effect: float = 1.5
    excess: float = 10.0
    min_volume: float = 50.0
    above: float | None = None
    below: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A rule's answer, arrays of shape (S,).

    `p` is the chance of a window at least this bad if nothing is wrong, `z` its distance in standard deviations,
    `effect` how many times worse than expected, `excess` the sessions beyond what was expected; `value`, `baseline`,
    `low` and `high` are in the metric's unit (the band is where 95 % of quiet windows lie); `gated` tells where effect,
    excess and volume pass; `state` is one of the codes of this module.
    """

    p: Floats
    z: Floats
    effect: Floats
    excess: Floats
    value: Floats
    baseline: Floats
    low: Floats
    high: Floats
    n: Floats
    gated: Bools
    state: Ints

    @staticmethod
    def silent(slices: int, state: int = NO_DATA) -> Outcome:
        """The answer of a rule that saw nothing."""
        nan = np.full(slices, np.nan)
        zero = np.zeros(slices)
        return Outcome(
            np.ones(slices), zero, zero, zero, nan, nan, nan, nan, zero,
            np.zeros(slices, np.bool_), np.full(slices, state, np.int64),
        )  # fmt: skip

    def where(self, mask: Bools, other: Outcome) -> Outcome:
        """This answer where `mask` is true, `other`'s elsewhere."""
        return Outcome(*(np.where(mask, getattr(self, name), getattr(other, name)) for name in self.__slots__))


def divide(x: Floats, y: Floats, otherwise: float = 0.0) -> Floats:
    """x / y, `otherwise` where y is not positive."""
    ratio: Floats = np.divide(x, y, out=np.full(np.broadcast(x, y).shape, otherwise), where=np.asarray(y) > 0)
    return ratio
