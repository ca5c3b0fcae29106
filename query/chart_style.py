"""Themes of charts."""

from __future__ import annotations

from dataclasses import dataclass

Rgba = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of everything but the lines."""

    background: str
    canvas: str
    text: str
    faint: str
    grid: str
    incomplete: str
    band: str


THEMES = {
    "light": Theme("#f5f5f5", "#ffffff", "#1a1a1a", "#6b6b6b", "#d9d9d9", "#d0d0d0", "#5a6b7b"),
    "dark": Theme("#1b1d20", "#24272b", "#e8e8e8", "#9aa0a6", "#3b4046", "#4a4f55", "#aab7c4"),
}


def rgba(argb: str) -> Rgba:
    """A colour as the drawing library takes it, from ARGB in hex."""
    alpha, red, green, blue = (int(argb[i : i + 2], 16) / 255.0 for i in (0, 2, 4, 6))
    return red, green, blue, alpha
