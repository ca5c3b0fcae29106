"""Which colour a line gets: its own, its expression's palette, the palette for shifted lines, or that of its axis.

Colours are handed out in the order of the legends before any other sorting, so that they do not change when a reader
sorts differently. A palette named `hash:NAME` picks by the legend's text, so that one legend has one colour everywhere.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from tocsin.model.asl.colours import THEMES, argb, palette, resolve
from tocsin.model.asl.errors import AslError

if TYPE_CHECKING:
    from tocsin.model.asl.graph import GraphLine
    from tocsin.model.asl.style_expr import StyleExpr

Choose = Callable[[str], str]
_HASH = "hash:"


def chooser(name: str) -> Choose:
    """A function from legends to colours."""
    if name.startswith(_HASH):
        colours = palette(name[len(_HASH) :])
        return lambda label: colours[abs(java_hash(label)) % len(colours)]
    turns = itertools.cycle(palette(name))
    return lambda _label: next(turns)


def java_hash(text: str) -> int:
    """Java's `String.hashCode`, by UTF-16 units, as a signed 32-bit number."""
    value = 0
    data = text.encode("utf-16-be", "surrogatepass")
    for high, low in zip(data[::2], data[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


class Palettes:
    """The palettes of one graph; each remembers how far it has come."""

    def __init__(self, theme: str, name: str | None) -> None:
        if theme not in THEMES:
            raise AslError(f"invalid theme: {theme}; it is light or dark")
        self._theme = theme
        primary, shifted = THEMES[theme]
        self._primary = chooser(name or primary)
        self._shifted = chooser(shifted)
        self._heatmaps: dict[int, str] = {}

    def of_axis(self, name: str | None) -> Choose:
        """The palette of an axis."""
        return self._primary if name is None else chooser(name)

    def of_expr(self, styled: StyleExpr, axis: Choose) -> Choose:
        """The palette of an expression."""
        own = styled.get("palette")
        if own is not None:
            return chooser(own)
        colour = styled.get("color")
        if colour is not None:
            fixed = resolve(colour, self._theme)
            return lambda _label: fixed
        return self._shifted if styled.offset_ms > 0 else axis

    def coloured(self, axis: int, line: GraphLine, choose: Choose, heatmap_palette: str | None) -> GraphLine:
        """A line with its colour. All heat maps of an axis share one."""
        styled = line.style
        if styled.get("color") is None and line.line_style == "heatmap":
            if axis not in self._heatmaps:
                self._heatmaps[axis] = argb("000000") if heatmap_palette else choose(f"heatmap{axis}")
            colour = self._heatmaps[axis]
        else:
            colour = choose(line.label)
        alpha = styled.alpha
        if alpha is not None:
            colour = f"{alpha:02x}{colour[2:]}"
        return dataclasses.replace(line, colour=colour)
