"""Heat maps: how many lines (or how much of a distribution) lies in each cell of time and height, and its colour.

Heights are the stretches between the ticks of the value axis. A line with the tag `percentile` is a bucket of a
distribution: its value is spread over the cells that the bucket covers. Any other line counts as one where it runs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from query.params import AxisLook
from query.value_ticks import Tick, value_ticks
from tocsin.model.asl.buckets import bucket_range
from tocsin.model.asl.colours import palette
from tocsin.model.asl.graph import GraphLine, Plot
from tocsin.model.asl.lines import Floats
from tocsin.model.asl.text import parse_double
from tocsin.model.asl.units import decimal_text

_TICK_PX = 42
"""Pixels that a major tick with its label takes."""
_SHADES = 5
_OPAQUE = 255
DRAWN_MAX = 1e150
Scaling = tuple[Callable[[float], float], Callable[[float], float]]
_LOG: Scaling = (lambda v: math.log10(v + 1.0), lambda v: 10.0**v - 1.0)
_SCALINGS: dict[str, Scaling] = {
    "linear": (lambda v: v, lambda v: v),
    "log": _LOG,
    "log-linear": _LOG,
    "sqrt": (math.sqrt, lambda v: v * v),
    "pow2": (lambda v: v * v, math.sqrt),
}


def drawable(values: Floats) -> Floats:
    """Values with what cannot be drawn left out: infinite ones, and those whose squares are."""
    return np.where(np.abs(values) < DRAWN_MAX, values, np.nan)


@dataclass(frozen=True, slots=True)
class Heatmap:
    """`counts` has shape (points, cells); cell i lies between `edges[i]` and `edges[i + 1]`.

    `shades` are ARGB colours; shade i stands for counts from `bounds[i]` to `bounds[i + 1]`.
    """

    counts: Floats
    edges: tuple[float, ...]
    ticks: tuple[Tick, ...]
    shades: tuple[str, ...]
    bounds: tuple[float, ...]
    scale: str
    label: str

    def shade_of(self, counts: Floats) -> np.typing.NDArray[np.int64]:
        """Which shade counts have; those outside of the bounds the first or the last."""
        forward = np.vectorize(_SCALINGS[self.scale][0], otypes=[np.float64])
        low, high = (_SCALINGS[self.scale][0](bound) for bound in (self.bounds[0], self.bounds[-1]))
        inside = forward(np.clip(counts, self.bounds[0], self.bounds[-1]))
        share = (inside - low) / (high - low) if high > low else np.zeros(counts.shape)
        return np.minimum((share * len(self.shades)).astype(np.int64), len(self.shades) - 1)


def heatmap(plot: Plot, look: AxisLook, height_px: int) -> Heatmap | None:
    """The heat map of an axis; None where none of its lines is part of one."""
    drawn = [dataclasses.replace(line, values=drawable(line.values)) for line in plot.lines]
    lines = [line for line in drawn if line.line_style == "heatmap"]
    if not lines:
        return None
    low, high = _bounds(drawn, look)
    ticks = value_ticks(low, high, max(1, height_px // _TICK_PX), look.scale)
    edges = np.array([low, *(value for value, _ in ticks), high])
    counts = np.zeros((len(lines[0].values), len(edges) - 1))
    for line in lines:
        _add(counts, line, edges)
    shades = palette(look.heatmap_palette) if look.heatmap_palette else _gradient(lines[0].colour)
    least = float(counts[counts > 0].min(initial=np.inf))
    most = float(counts.max(initial=0.0))
    bounds = _shade_bounds(min(least, most), most, len(shades), look)
    label = look.heatmap_label or ""
    return Heatmap(counts, tuple(edges.tolist()), tuple(ticks), shades, bounds, look.heatmap_scale, label)


def shade_text(low: float, high: float) -> str:
    """`1.0–4.0`"""
    return f"{decimal_text(low)}–{decimal_text(high)}"


def _bounds(lines: Sequence[GraphLine], look: AxisLook) -> tuple[float, float]:
    """Lowest and highest value of an axis that has a heat map: explicit bounds, else what its lines reach."""
    reached: list[float] = []
    for line in lines:
        covered = _bucket_of(line)
        if covered is not None:
            reached.extend(covered if np.nansum(np.abs(line.values)) > 0 else ())
        elif line.line_style != "vspan":
            reached.extend(line.values[np.isfinite(line.values)].tolist())
    filled = any(line.line_style in ("area", "stack") for line in lines)
    given = parse_double(look.lower), parse_double(look.upper)
    low, high = min(reached, default=0.0), max(reached, default=1.0)
    low = min(low, 0.0) if filled and look.lower == "auto-style" else low
    high = max(high, 0.0) if filled and look.upper == "auto-style" else high
    low, high = (low if given[0] is None else given[0]), (high if given[1] is None else given[1])
    if low < high:
        return low, high
    return (low, low + 1.0) if given[1] is None else (high - 1.0, high)


def _bucket_of(line: GraphLine) -> tuple[float, float] | None:
    """The range of the bucket of a distribution that a line is; None for any other line."""
    return bucket_range(line.tags.get("percentile", "")) if line.line_style == "heatmap" else None


def _add(counts: Floats, line: GraphLine, edges: Floats) -> None:
    covered = _bucket_of(line)
    if covered is not None:
        low, high = covered
        share = (np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)).clip(0.0) / (high - low)
        counts += np.where(line.values > 0, line.values, 0.0)[:, None] * share
        return
    inside = np.flatnonzero((line.values >= edges[0]) & (line.values <= edges[-1]))
    cells = np.searchsorted(edges[1:-1], line.values[inside], side="right")
    counts[inside, cells] += 1.0


def _shade_bounds(least: float, most: float, shades: int, look: AxisLook) -> tuple[float, ...]:
    given = parse_double(look.heatmap_lower), parse_double(look.heatmap_upper)
    low, high = (least if given[0] is None else given[0]), (most if given[1] is None else given[1])
    forward, back = _SCALINGS[look.heatmap_scale]
    first, last = forward(max(low, 0.0)), forward(max(high, 0.0))
    return (low, *(back(first + (last - first) * i / shades) for i in range(1, shades + 1)))


def _gradient(argb: str) -> tuple[str, ...]:
    """One colour from faint to full; one with an opacity of its own in as many steps as that goes into full."""
    alpha = int(argb[:2], 16)
    step = _OPAQUE // _SHADES if alpha in (0, _OPAQUE) else alpha
    count = _OPAQUE // step
    return tuple(f"{_OPAQUE - step * (count - 1 - i):02x}{argb[2:]}" for i in range(count))
