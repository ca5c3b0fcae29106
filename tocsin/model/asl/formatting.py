"""`:format`: a printf subset with bounded width and precision, so that a pattern from anyone is safe."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tocsin.model.asl.errors import AslError
from tocsin.model.asl.text import java_fixed, parse_double

_SPEC = re.compile(r"%(?:(\d+)\$)?([-+ 0]*)(\d+)?(?:\.(\d+))?(.)|%", re.DOTALL)
_MAX_WIDTH = 256
_MAX_PLACES = {"s": 256, "f": 32}


def format_text(pattern: str, values: Sequence[str]) -> str:
    """Fill values into a pattern. A missing value, an unknown type or too large a width is refused."""
    used = 0

    def put(match: re.Match[str]) -> str:
        nonlocal used
        if match.group(0) == "%%":
            return "%"
        position, flags, width, places, kind = match.groups()
        if kind is None or kind not in "sduxXf":
            raise AslError(f"invalid format '{match.group(0)}' in '{pattern}': the types are s d u x X f")
        index = int(position) - 1 if position else used
        used = index + 1
        if not 0 <= index < len(values):
            raise AslError(f"'{pattern}' wants a value number {index + 1}, {len(values)} were given")
        if width is not None and not 1 <= int(width) <= _MAX_WIDTH:
            raise AslError(f"width must be from 1 to {_MAX_WIDTH}, not {width}")
        if places is not None and int(places) > _MAX_PLACES.get(kind, -1):
            raise AslError(f"precision {places} is not allowed for %{kind}")
        if kind == "s" and set(flags) & {"0", "+", " "}:
            raise AslError(f"flags '{flags}' are not allowed for %s")
        return _pad(_one(kind, values[index], flags, places), flags, int(width or 0))

    return _SPEC.sub(put, pattern)


def _one(kind: str, value: str, flags: str, places: str | None) -> str:
    if kind == "s":
        return value if places is None else value[: int(places)]
    if kind == "f":
        number = parse_double(value)
        if number is None:
            raise AslError(f"cannot format '{value}' as a number")
        return _sign(number < 0, flags) + java_fixed(abs(number), 6 if places is None else int(places))
    try:
        whole = int(value)
    except ValueError:
        raise AslError(f"cannot format '{value}' as an integer") from None
    if kind == "d":
        return _sign(whole < 0, flags) + str(abs(whole))
    unsigned = whole & 0xFFFFFFFFFFFFFFFF
    return str(unsigned) if kind == "u" else format(unsigned, kind)


def _sign(negative: bool, flags: str) -> str:
    if negative:
        return "-"
    return "+" if "+" in flags else (" " if " " in flags else "")


def _pad(text: str, flags: str, width: int) -> str:
    if len(text) >= width:
        return text
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags:
        return text.zfill(width) if not text.startswith(" ") else " " + text[1:].zfill(width - 1)
    return text.rjust(width)
