"""The arrays that rules look at: the last 75 minutes live, and the same minutes of the last four weeks.

Live minutes are a ring (columns × minutes × slices); sums over the windows are kept up to date as deltas arrive and as
minutes roll over, so a tick reads them and adds nothing up. All sums are integers below 2^53, so what is added and
subtracted in float64 stays exact. A window of W minutes is W closed minutes and the open one; its baseline is the twin
minutes ±1. History is float32 (its squares need no more), summed in float64, once a minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from alerting import baseline
from alerting.rules import noise
from alerting.rules.evidence import Bools, Evidence, Floats, Ints, Sums
from alerting.rules.noise import Noise
from alerting.signals import Signal
from tocsin.model.catalogue import MOMENTS

LIVE_MINUTES = 76
GROWTH = 1.5
HEARD = "heartbeats"
"""The column that tells a minute without plays from one without telemetry."""

Float32s = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rows:
    """Sums to add: minutes since the epoch (R,), slices (R,), values (C, R) in the order of the arrays' columns."""

    minutes: Ints
    slices: Ints
    values: Floats


class LiveArrays:
    """Ring of the last minutes, with running sums over the windows. `end` is the open minute."""

    def __init__(self, columns: Sequence[str], windows: Sequence[int], minutes: int = LIVE_MINUTES) -> None:
        self.columns = tuple(columns)
        self.at: Mapping[str, int] = {name: index for index, name in enumerate(self.columns)}
        self.windows = tuple(windows)
        self.minutes = minutes
        self.end = -1
        self.slices = 0
        self.late_rows = 0
        self._ring = np.zeros((len(self.columns), minutes, 64))
        self._sums = {window: np.zeros((len(self.columns), 64)) for window in self.windows}

    def grow(self, slices: int) -> None:
        """Make room for `slices`; new ones are all zero."""
        self.slices = max(self.slices, slices)
        have = self._ring.shape[2]
        if slices <= have:
            return
        size = max(slices, int(have * GROWTH) + 1)
        extra = size - have
        self._ring = np.concatenate([self._ring, np.zeros((len(self.columns), self.minutes, extra))], axis=2)
        self._sums = {
            window: np.concatenate([sums, np.zeros((len(self.columns), extra))], axis=1)
            for window, sums in self._sums.items()
        }

    def roll(self, minute: int) -> None:
        """Open `minute`: minutes that leave a window are taken out of its sum, those that leave the ring cleared."""
        if self.end < 0 or minute - self.end >= self.minutes:
            self._ring[:] = 0
            for sums in self._sums.values():
                sums[:] = 0
            self.end = max(self.end, minute)
            return
        while self.end < minute:
            self.end += 1
            for window, sums in self._sums.items():
                sums -= self._ring[:, (self.end - window - 1) % self.minutes]
            self._ring[:, self.end % self.minutes] = 0

    def add(self, rows: Rows) -> None:
        """Add rows; those older than the ring or ahead of the open minute are counted in `late_rows` and left out."""
        keep = (rows.minutes > self.end - self.minutes) & (rows.minutes <= self.end) & (rows.slices >= 0)
        self.late_rows += int(len(keep) - keep.sum())
        minutes, slices, values = rows.minutes[keep], rows.slices[keep], rows.values[:, keep]
        if not len(minutes):
            return
        self.grow(int(slices.max()) + 1)
        width = self._ring.shape[2]
        flat = (minutes % self.minutes) * width + slices
        inside = {window: minutes >= self.end - window for window in self.windows}
        for column in range(len(self.columns)):
            np.add.at(self._ring[column].reshape(-1), flat, values[column])
            for window, sums in self._sums.items():
                mask = inside[window]
                np.add.at(sums[column], slices[mask], values[column][mask])

    def combine(self, parts: Mapping[str, float], window: int) -> Floats:
        """Σ factor × column over the window that ends with the open minute, shape (S,)."""
        sums = self._sums[window]
        total = np.zeros(self.slices)
        for name, factor in parts.items():
            total += factor * sums[self.at[name], : self.slices]
        return total

    def closed(self, parts: Mapping[str, float], end: int, window: int) -> Floats:
        """The same over `window` minutes that end with minute `end`, shape (S,)."""
        slots = np.arange(end - window + 1, end + 1) % self.minutes
        total = np.zeros(self.slices)
        for name, factor in parts.items():
            total += factor * self._ring[self.at[name], slots, : self.slices].sum(axis=0)
        return total

    def heard(self, end: int, window: int) -> bool:
        """Whether anybody was heard (`HEARD` of the root) in each of the `window` minutes up to `end`.

        Minutes before the start of the service, or lost to an outage of the pipeline, are unknown and not empty.
        """
        slots = np.arange(end - window + 1, end + 1) % self.minutes
        return bool(np.all(self._ring[self.at[HEARD], slots, 0] > 0))

    def series(self, parts: Mapping[str, float], end: int, minutes: int) -> Floats:
        """Minutes ending with `end`, oldest first, shape (S, minutes)."""
        slots = np.arange(end - minutes + 1, end + 1) % self.minutes
        total = np.zeros((minutes, self.slices))
        for name, factor in parts.items():
            total += factor * self._ring[self.at[name]][slots, : self.slices]
        return total.T

    def sums(self, signal: Signal, window: int) -> Sums:
        """The signal's sums over the window that ends with the open minute."""
        x, y = self.combine(signal.x, window), self.combine(signal.y, window)
        if not signal.moments:
            return Sums.of_counts(x, y)
        rows = self._sums[window][:, : self.slices]
        n, xx, yy, xy = (rows[self.at[name]] for name in moment_columns(signal))
        return Sums(n, x, y, xx, xy, yy)


def moment_columns(signal: Signal) -> tuple[str, str, str, str]:
    """Stored names of n, Σx², Σy², Σxy."""
    _, _, _, sxx, syy, sxy = MOMENTS[signal.moments].columns
    return "n", sxx, syy, sxy


class History:
    """The twin minutes of four weeks: `values[w]` (C, H, S) holds minutes `first[w]` … `first[w]` + H − 1.

    `usable` (weeks, S) is false where a week is left out for a slice: it has no row at all, or lies in an incident.
    """

    def __init__(self, columns: Sequence[str], first: Sequence[int], values: Sequence[Float32s], usable: Bools) -> None:
        self.at: Mapping[str, int] = {name: index for index, name in enumerate(columns)}
        self.first = tuple(first)
        self.values = tuple(values)
        self.usable = usable
        self.slices = usable.shape[1]
        self.minutes = values[0].shape[1] if values else 0

    @staticmethod
    def none(columns: Sequence[str]) -> History:
        """No history at all."""
        return History(columns, (), (), np.zeros((0, 0), np.bool_))

    def combine(self, parts: Mapping[str, float], week: int) -> Floats:
        """Σ factor × column of one week, shape (H, S)."""
        total = np.zeros((self.minutes, self.slices))
        for name, factor in parts.items():
            total += factor * self.values[week][self.at[name]]
        return total


@dataclass(frozen=True, slots=True)
class SignalHistory:
    """What one signal's history says for all windows, widened to S slices."""

    long_run: Sums
    noise: Mapping[int, Noise]


def widen(values: Floats, slices: int) -> Floats:
    """`values` (…, S0) padded with zeros to (…, slices)."""
    missing = slices - values.shape[-1]
    if missing <= 0:
        return values[..., :slices]
    return np.concatenate([values, np.zeros((*values.shape[:-1], missing))], axis=-1)


def signal_history(history: History, signal: Signal, windows: Sequence[int]) -> SignalHistory:
    """Long-run sums and noise of a signal over everything that is loaded."""
    weeks = len(history.values)
    if weeks == 0:
        return SignalHistory(Sums.zeros(0), {w: Noise.prior(0, w, signal.shape) for w in windows})
    usable = history.usable[:, None, :]
    x = np.stack([history.combine(signal.x, week) for week in range(weeks)]) * usable
    y = np.stack([history.combine(signal.y, week) for week in range(weeks)]) * usable if signal.y else x
    total_x, total_y = x.sum(axis=(0, 1)), y.sum(axis=(0, 1))
    if signal.moments:
        n, xx, yy, xy = (
            (np.stack([history.combine({name: 1.0}, week) for week in range(weeks)]) * usable).sum(axis=(0, 1))
            for name in moment_columns(signal)
        )
        long_run = Sums(n, total_x, total_y, xx, xy, yy)
    else:
        long_run = Sums.of_counts(total_x, total_y)
    return SignalHistory(long_run, {w: _noise(signal, x, y, long_run, w) for w in windows})


def _noise(signal: Signal, x: Floats, y: Floats, long_run: Sums, window: int) -> Noise:
    weeks, minutes, slices = x.shape
    blocks = minutes // window
    if blocks == 0 or signal.shape == "level":
        return Noise.prior(slices, window, signal.shape)
    shape = (weeks, blocks, window, slices)
    bx = x[:, : blocks * window].reshape(shape).sum(axis=2)
    by = y[:, : blocks * window].reshape(shape).sum(axis=2)
    if signal.shape == "volume":
        k, mean, seen = noise.blocks_of_volume(bx.reshape(-1, slices), weeks)
    else:
        k, mean, seen = noise.blocks_of_rate(
            bx.reshape(-1, slices), by.reshape(-1, slices), long_run, signal.shape
        )  # fmt: skip
    return noise.from_blocks(k, mean, window, signal.shape, seen)


def base_sums(history: History, signal: Signal, end: int, window: int, zone: ZoneInfo) -> tuple[Sums, Ints]:
    """Sums of the middle weeks over the twins of minutes end − window … end, ±1, and how many weeks they are.

    For volumes `x` is the mean of the chosen weeks for `window` minutes that end with `end`.
    """
    margin = baseline.MARGIN_MINUTES
    names = ["x", "y", *(moment_columns(signal) if signal.moments else ())]
    stacked: dict[str, list[Floats]] = {name: [] for name in names}
    for week in range(len(history.values)):
        last = baseline.twin_minute(end, week + 1, zone) + margin - history.first[week]
        extra = 0 if signal.shape == "volume" else 1
        low = max(last - window - extra - 2 * margin + 1, 0)
        picked = history.values[week][:, low : max(last + 1, 0)]
        for name in names:
            parts = signal.x if name == "x" else signal.y if name == "y" else {name: 1.0}
            total = np.zeros(history.slices)
            for column, factor in parts.items():
                total += factor * picked[history.at[column]].sum(axis=0, dtype=np.float64)
            stacked[name].append(total)
    if not history.values:
        return Sums.zeros(0), np.zeros(0, np.int64)
    x, y = np.stack(stacked["x"]), np.stack(stacked["y"])
    volume = signal.shape == "volume"
    chosen = baseline.middle_weeks(x, np.ones_like(x) if volume else y, history.usable)
    weeks = baseline.weeks_used(chosen)
    if volume:
        mean = baseline.mean_volume(x, chosen, window)
        return Sums.of_counts(mean, mean), weeks
    if not signal.moments:
        return baseline.pick(Sums.of_counts(x, y), chosen), weeks
    n, xx, yy, xy = (np.stack(stacked[name]) for name in moment_columns(signal))
    return baseline.pick(Sums(n, x, y, xx, xy, yy), chosen), weeks


def widen_sums(sums: Sums, slices: int) -> Sums:
    """Sums padded with zeros to `slices`."""
    return Sums(*(widen(getattr(sums, name), slices) for name in Sums.__slots__))


def widen_noise(found: Noise, slices: int) -> Noise:
    """Noise padded with the fleet's φ to `slices`."""
    phi = widen(found.phi, slices)
    phi[len(found.phi) :] = found.phi_fleet
    return Noise(found.d, found.phi_fleet, phi)


def evidence_of(
    live: LiveArrays, signal: Signal, window: int, base: tuple[Sums, Ints], past: SignalHistory, parents: Ints,
    closed_end: int,
) -> Evidence:  # fmt: skip
    """One signal and window over all slices; a volume looks at the minutes up to `closed_end` only."""
    slices = live.slices
    found = widen_noise(past.noise[window], slices)
    weeks = widen(base[1].astype(np.float64), slices).astype(np.int64)
    own = widen(past.long_run.y, slices) > 0
    # a slice too small to be seen in these very minutes still has a rate of its own
    weeks = np.where(own, np.maximum(weeks, 1), 0) if signal.shape != "volume" else weeks
    long_run, phi = baseline.borrow_from_parent(widen_sums(past.long_run, slices), found.phi, parents)
    if signal.shape == "volume":
        x = live.closed(signal.x, closed_end, window)
        now = Sums.of_counts(x, x)
    else:
        now = live.sums(signal, window)
    return Evidence(
        signal.shape, signal.direction, window, now, widen_sums(base[0], slices), long_run, weeks, phi, found.d,
        parents,
    )  # fmt: skip
