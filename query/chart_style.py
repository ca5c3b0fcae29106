"""Themes of charts."""

from __future__ import annotations

from dataclasses import dataclass

Rgba = tuple[float, float, float, float]
_CONTRAST_MIN = 3.0
_MIXES = 10


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
    error: str


THEMES = {
    "light": Theme("#f5f5f5", "#ffffff", "#1a1a1a", "#6b6b6b", "#d9d9d9", "#d0d0d0", "#5a6b7b", "#a11212"),
    "dark": Theme("#1b1d20", "#24272b", "#e8e8e8", "#9aa0a6", "#3b4046", "#4a4f55", "#aab7c4", "#ff9d94"),
}


def rgba(argb: str) -> Rgba:
    """A colour as the drawing library takes it, from ARGB in hex."""
    alpha, red, green, blue = (int(argb[i : i + 2], 16) / 255.0 for i in (0, 2, 4, 6))
    return red, green, blue, alpha


def readable(argb: str, theme: Theme) -> Rgba:
    """A line's colour as ink for text: mixed with the colour of text until it stands out from the background (WCAG's
    contrast of 3 for large text and graphics)."""
    ink, text = rgba(argb)[:3], rgba(f"ff{theme.text[1:]}")[:3]
    background = _luminance(rgba(f"ff{theme.background[1:]}")[:3])
    for share in range(_MIXES + 1):
        mixed = tuple(a + (b - a) * share / _MIXES for a, b in zip(ink, text, strict=True))
        low, high = sorted((background, _luminance(mixed)))
        if (high + 0.05) / (low + 0.05) >= _CONTRAST_MIN:
            break
    return mixed[0], mixed[1], mixed[2], 1.0


def _luminance(rgb: tuple[float, ...]) -> float:
    """Relative luminance by WCAG 2."""
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
