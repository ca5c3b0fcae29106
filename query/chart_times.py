"""Time axes of charts: ticks with short labels, and a further axis for each further time zone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import matplotlib.dates as mdates
from matplotlib.axes import Axes
from matplotlib.axis import Axis

from query.chart_style import Theme
from tocsin.model.asl.times import parse_zone

_LABEL_PX = 80
"""Pixels that a label takes with the room around it."""
_NAME_POINTS = 15


def dress_time(axis: Axis, zone: dt.tzinfo, width_px: int, theme: Theme) -> None:
    """Ticks at full hours, days, … of a zone, as many as the width holds."""
    most = max(3, width_px // _LABEL_PX)
    locator = mdates.AutoDateLocator(tz=zone, minticks=min(3, most), maxticks=most)  # type: ignore[no-untyped-call]
    axis.set_major_locator(locator)
    axis.set_major_formatter(mdates.ConciseDateFormatter(locator, tz=zone))  # type: ignore[no-untyped-call]
    axis.get_offset_text().set(color=theme.faint, fontsize=7)
    axis.set_tick_params(colors=theme.text, labelsize=7, length=3)


def name_zones(axes: Axes, zones: Sequence[str], end_ms: int, theme: Theme, gap_points: float) -> None:
    """Write the name of the first zone and the day of the last point below its axis, and add an axis for each other
    zone below that."""
    for i, name in enumerate(zones):
        zone, shift = parse_zone(name), gap_points * i
        axis = axes.xaxis
        if i:
            below = axes.secondary_xaxis("bottom")
            below.spines["bottom"].set(position=("outward", shift), color=theme.faint)
            axis = below.xaxis
            dress_time(axis, zone, round(axes.bbox.width), theme)
        axis.get_offset_text().set_visible(False)
        day = dt.datetime.fromtimestamp(end_ms / 1000, zone).strftime("%Y-%b-%d")
        axes.annotate(
            f"{name} {day}", (1, 0), xycoords="axes fraction", xytext=(0, -shift - _NAME_POINTS),
            textcoords="offset points", ha="right", va="top", fontsize=7, color=theme.faint, annotation_clip=False,
        )  # fmt: skip
