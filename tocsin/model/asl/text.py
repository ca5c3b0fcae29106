r"""The text of the stack language: tokens with positions, escapes, variables in legends, numbers as Java writes them.

A program is a list of tokens between commas; white space around a token is dropped, `/* … */` is a comment and may
nest, and `\uXXXX` stands for a character that would otherwise be taken for structure. Numbers and rounding follow Java
because legends and text formats of Atlas are compared as text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Self

from tocsin.model.asl.errors import AslError

_UNICODE_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_NOT_VARIABLE = re.compile(r"[^.\-_a-zA-Z0-9]")
_JAVA_DOUBLE = re.compile(r"^[+-]?(NaN|Infinity|((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)[fFdD]?)$")
_JAVA_INT = re.compile(r"^[+-]?\d+$")


class Token(str):
    """One token of a program; `start` is its offset in characters in the program's text."""

    __slots__ = ("start",)
    start: int

    def __new__(cls, text: str, start: int) -> Self:
        token = super().__new__(cls, text)
        token.start = start
        return token


def position_of(token: str) -> int | None:
    """Where a token stood in its program; None for one that a macro made."""
    return token.start if isinstance(token, Token) else None


def tokenize(program: str) -> list[Token]:
    """Split a program into tokens. A comment that is not closed is refused with its position."""
    tokens: list[Token] = []
    chars: list[tuple[str, int]] = []
    depth, opened, i = 0, 0, 0
    while i < len(program):
        pair = program[i : i + 2]
        if pair == "/*":
            opened = i if depth == 0 else opened
            depth += 1
            i += 2
        elif pair == "*/":
            depth -= 1
            if depth < 0:
                raise AslError("unclosed comment: '*/' without '/*'", token="*/", position=i)  # noqa: S106
            i += 2
        else:
            if depth == 0 and program[i] == ",":
                _flush(chars, tokens)
            elif depth == 0:
                chars.append((program[i], i))
            i += 1
    if depth > 0:
        raise AslError("unclosed comment", token="/*", position=opened)  # noqa: S106
    _flush(chars, tokens)
    return tokens


def _flush(chars: list[tuple[str, int]], tokens: list[Token]) -> None:
    text = "".join(c for c, _ in chars)
    stripped = text.strip()
    if stripped:
        tokens.append(Token(stripped, chars[text.index(stripped[0])][1]))
    chars.clear()


def unescape(text: str) -> str:
    r"""Replace every `\uXXXX` by its character; other backslashes stay."""
    return _UNICODE_ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), text) if "\\" in text else text


def escape(text: str) -> str:
    """Write a value so that it reads back as one token."""
    if text == "(":
        return "\\u0028"
    if text == ")":
        return "\\u0029"
    inner = text.strip()
    lead = len(text) - len(text.lstrip()) if inner else 0
    tail = lead + len(inner) if inner else 0
    out = []
    for i, c in enumerate(text):
        middle_space = c == " " and lead <= i < tail
        special = c in ",:" or (c.isspace() and not middle_space)
        if special or (c == "\\" and _UNICODE_ESCAPE.match(text, i)):
            out.append(f"\\u{ord(c):04x}")
        else:
            out.append(c)
    return "".join(out).replace("/*", "\\u002f*")


def substitute(text: str, lookup: Mapping[str, str] | Callable[[str], str]) -> str:
    """Fill in `$name` and `$(name)`. An unknown name stands for itself; a lone `$` stays."""
    find = lookup if callable(lookup) else lambda k: lookup.get(k, k)
    out: list[str] = []
    i = 0
    while i < len(text):
        if text[i] != "$" or i == len(text) - 1:
            out.append(text[i])
            i += 1
            continue
        if text[i + 1] == "(":
            end = text.find(")", i + 2)
            key, i = ("", i + 2) if end < 0 else (text[i + 2 : end], end + 1)
        else:
            stop = _NOT_VARIABLE.search(text, i + 1)
            end = stop.start() if stop else len(text)
            key, i = text[i + 1 : end], end
        out.append(find(key) if key else "$")
    return "".join(out)


def hex_decode(text: str, escape_char: str = "_") -> str:
    """Turn `_XX` into the character with that code; anything that is not two hex digits stays as it is."""
    return re.sub(re.escape(escape_char) + r"([0-9a-fA-F]{2})", lambda m: chr(int(m.group(1), 16)), text)


def parse_int(text: str) -> int | None:
    """A 32-bit integer as Java reads it, or None."""
    if not _JAVA_INT.match(text):
        return None
    value = int(text)
    return value if -(2**31) <= value < 2**31 else None


def parse_double(text: str) -> float | None:
    """A double as Java reads it (`NaN`, `Infinity`, `30e3`, `1.5f`), or None."""
    stripped = text.strip()
    if not _JAVA_DOUBLE.match(stripped):
        return None
    return float(stripped.rstrip("fFdD") if "N" not in stripped and "I" not in stripped else stripped)


def java_double(value: float) -> str:
    """A double as Java's `Double.toString` writes it: `42.0`, `1.0E10`, `NaN`, `Infinity`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        text = format(Decimal(repr(value)), "f")
        return text if "." in text else text + ".0"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - finite values only, see above
    figures = "".join(map(str, digits)).rstrip("0") or "0"
    power = exponent + len(digits) - 1
    return f"{'-' if sign else ''}{figures[0]}.{figures[1:] or '0'}E{power}"


def java_fixed(value: float, places: int) -> str:
    """A double as Java's `%.Nf` writes it: half-up on the shortest decimal that reads back as the value."""
    if not math.isfinite(value):
        return java_double(value)
    step = Decimal(1).scaleb(-places)
    return format(Decimal(repr(value)).quantize(step, rounding=ROUND_HALF_UP), "f")
