"""An error as a picture: a page that shows a chart by `<img>` would show nothing for an error in any other form."""

from __future__ import annotations

import io
import textwrap

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from query.chart import DPI, DRAWING
from query.chart_style import THEMES

_CHAR_PX = 7.0
_EDGE_PX = 12.0
_FALLBACK = "light"


def draw_error(message: str, width: int, height: int, theme: str) -> bytes:
    """The message on a picture of this size in pixels, wrapped; what does not fit is cut."""
    colours = THEMES.get(theme, THEMES[_FALLBACK])
    wrapped = textwrap.fill(message, max(8, int((width - 2 * _EDGE_PX) / _CHAR_PX)), break_on_hyphens=False)
    with DRAWING, mpl.rc_context({"font.family": "DejaVu Sans Mono", "text.parse_math": False}):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=colours.background)
        FigureCanvasAgg(figure)
        x, y = _EDGE_PX / width, 1 - _EDGE_PX / height
        figure.text(x, y, wrapped, color=colours.error, fontsize=8, ha="left", va="top", linespacing=1.4)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=DPI)
    return out.getvalue()
