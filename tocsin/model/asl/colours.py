"""Colours as the language writes them, and palettes that are published under their names.

armytage: P. Green-Armitage, "A Colour Alphabet", 2010. light24, dark24: Polychrome (K. Coombes). reds, blues, greens,
oranges, purples: ColorBrewer (C. Brewer). okabe-ito: M. Okabe, K. Ito, "Color Universal Design", 2008, for readers
who do not tell red from green.
"""

from __future__ import annotations

import re

from tocsin.model.asl.errors import AslError, nearest

_HEX = re.compile(r"^([0-9a-fA-F]{3}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})$")

_ARMYTAGE = (
    "0075DC 993F00 9DCC00 4C005C 00998F FFA405 5EF1F2 F0A3FF 94FFB5 FF0010 2BCE48 740AFF 191919 FF5005 005C31 FFCC99 "
    "808080 8F7C00 C20088 003380 FFA8BB 426600 990000 FFE100"
)


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PALETTES: dict[str, tuple[str, ...]] = {
    "armytage": _split(_ARMYTAGE),
    "bw": ("C0000000", "C0CCCCCC", "C0444444", "C0EEEEEE", "C0222222", "C0AAAAAA", "C0666666", "C0888888"),
    "light24": _split(
        "00B5F7 E48F72 86CE00 D626FF 479B55 FF9616 0DF9FF EEA6FB 22FFA7 FD3216 00FE35 7E7DCD 6E899C FC6955 C9FBE5 "
        "B68E00 DC587D FED4C4 FE00CE 6A76FC FF0092 E3EE9E BC7196 F6F926"
    ),
    "dark24": _split(
        "2E91E5 862A16 1CA71C 750D86 00A08B EB663B 511CFB DA60CA 6C7C32 FB0D0D 0D2A63 A777F1 222A2A E15F99 778AAE "
        "B2828D DA16FF 620042 FC0080 1616A7 FB00D1 6C4516 AF0038 B68100"
    ),
    "lightgray": ("FFFFFFFF", "FF777777", "FFEEEEEE", "FF888888", "FFDDDDDD", "FF999999", "FFCCCCCC", "FFAAAAAA"),
    "reds": ("67000D", "A50F15", "CB181D", "EF3B2C", "FB6A4A", "FC9272", "FCBBA1"),
    "greens": ("00441B", "006D2C", "238B45", "41AB5D", "74C476", "A1D99B", "C7E9C0"),
    "blues": ("08306B", "08519C", "2171B5", "4292C6", "6BAED6", "9ECAE1", "C6DBEF"),
    "oranges": ("7F2704", "A63603", "D94801", "F16913", "FD8D3C", "FDAE6B", "FDD0A2"),
    "purples": ("3F007D", "54278F", "6A51A3", "807DBA", "9E9AC8", "BCBDDC", "DADAEB"),
    "okabe-ito": ("0072B2", "E69F00", "009E73", "CC79A7", "56B4E9", "D55E00", "F0E442", "000000"),
}

# Shades for the names that the language knows, by theme; light and dark take different steps of the same scales.
NAMED: dict[str, dict[str, str]] = {
    "light": {
        "blue1": "6BAED6", "blue2": "2171B5", "blue3": "08306B",
        "gray1": "888888", "gray2": "444444", "gray3": "000000",
        "green1": "74C476", "green2": "238B45", "green3": "00441B",
        "orange1": "FD8D3C", "orange2": "D94801", "orange3": "7F2704",
        "purple1": "9E9AC8", "purple2": "6A51A3", "purple3": "3F007D",
        "red1": "FB6A4A", "red2": "CB181D", "red3": "67000D",
    },
    "dark": {
        "blue1": "C6DBEF", "blue2": "6BAED6", "blue3": "2171B5",
        "gray1": "FFFFFF", "gray2": "BBBBBB", "gray3": "777777",
        "green1": "C7E9C0", "green2": "74C476", "green3": "238B45",
        "orange1": "FDD0A2", "orange2": "FD8D3C", "orange3": "D94801",
        "purple1": "DADAEB", "purple2": "9E9AC8", "purple3": "6A51A3",
        "red1": "FCBBA1", "red2": "FB6A4A", "red3": "CB181D",
    },
}  # fmt: skip
THEMES = {"light": ("armytage", "bw"), "dark": ("light24", "lightgray")}


def is_hex_colour(text: str) -> bool:
    """Whether a text is a colour in 3, 6 or 8 hex digits."""
    return _HEX.match(text) is not None


def argb(text: str) -> str:
    """A hex colour as eight lower-case digits, opacity first: `f00` is `ffff0000`."""
    if not is_hex_colour(text):
        raise AslError(f"invalid colour '{text}': write f00, ff0000 or 80ff0000 (opacity first)")
    digits = "".join(c * 2 for c in text) if len(text) == 3 else text
    return digits.lower().rjust(8, "f")


def with_alpha(colour: str, alpha: str) -> str:
    """A colour with another opacity, as `argb`."""
    if not re.fullmatch("[0-9a-fA-F]{1,2}", alpha):
        raise AslError(f"invalid alpha '{alpha}': write two hex digits, 00 is clear and ff is opaque")
    return alpha.lower().rjust(2, "0") + argb(colour)[2:]


def resolve(colour: str, theme: str) -> str:
    """A colour by name or in hex, as `argb`."""
    named = NAMED[theme].get(colour)
    if named is None and not is_hex_colour(colour):
        known = NAMED[theme]
        raise AslError(f"unknown colour '{colour}': write f00, ff0000 or a name such as blue1{nearest(colour, known)}")
    return argb(named or colour)


def palette(text: str) -> tuple[str, ...]:
    """The colours of a palette by name, or of a list `(,f00,0f0,)`, as `argb`."""
    if text.startswith(("(", "colors:")):
        parts = [p.strip() for p in text.removeprefix("colors:").split(",")]
        colours = tuple(argb(p) for p in parts if p not in ("", "(", ")"))
        if not colours:
            raise AslError("a palette must have at least one colour")
        return colours
    if text not in PALETTES:
        raise AslError(f"invalid palette name: '{text}'{nearest(text, PALETTES)}")
    return tuple(argb(c) for c in PALETTES[text])
