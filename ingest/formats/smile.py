"""Smile, Jackson's binary JSON, into plain values: what Netflix's Spectator for Java sends.

A document is a header (`:)\\n`, then a byte of flags) and one value. A token's first byte says its kind, often with its
length or its value inside. Names, and where the header says so short texts, are given once and referred to by their
number; a full table of 1,024 starts anew. Numbers are written in bytes of 7 bits. Big numbers and binary data are
refused: nothing that publishes sends them.

Strict and bounded: no length is trusted, a document has at most `TOKENS_MAX` tokens in at most `DEPTH_MAX` levels.
Source: github.com/FasterXML/smile-format-specification, version 1.0.
"""

from __future__ import annotations

import struct
from typing import Any

CONTENT_TYPE = b"application/x-jackson-smile"
TOKENS_MAX = 2_000_000
DEPTH_MAX = 16
_HEADER = b":)\n"
_SHARED_NAMES, _SHARED_TEXTS = 1, 2
_TABLE = 1_024
_INT_BYTES = {0x24: 5, 0x25: 10}
_END_TEXT, _START_ARRAY, _END_ARRAY, _START_OBJECT, _END_OBJECT, _END = 0xFC, 0xF8, 0xF9, 0xFA, 0xFB, 0xFF


class SmileError(ValueError):
    """The bytes are no Smile document, or one beyond the limits; the text says what and where."""


def decode(document: bytes) -> Any:
    """The one value of a document: dict, list, str, int, float, bool or None. Raises `SmileError`."""
    if document[:3] != _HEADER or len(document) < 5:
        raise SmileError("it does not begin with the header of a Smile document and a value")
    if document[3] >> 4:
        raise SmileError(f"it is of version {document[3] >> 4} of Smile; 0 is known")
    reader = _Reader(document)
    try:
        value = reader.value()
    except IndexError:
        raise SmileError("it is cut off") from None
    except UnicodeDecodeError as error:
        raise SmileError(f"a text before byte {reader.at} is no {error.encoding}") from error
    if document[reader.at :] not in (b"", b"\xff"):
        raise SmileError(f"something follows its value at byte {reader.at}")
    return value


class _Reader:
    """Reads tokens from `at` on; an index beyond the end is an `IndexError`."""

    def __init__(self, document: bytes) -> None:
        self._data = document
        self.at = 4
        self._names: list[str] | None = [] if document[3] & _SHARED_NAMES else None
        self._texts: list[str] | None = [] if document[3] & _SHARED_TEXTS else None
        self._tokens = 0
        self._depth = 0

    def value(self) -> Any:
        """The next value."""
        token = self._data[self.at]
        self.at += 1
        self._tokens += 1
        if self._tokens > TOKENS_MAX:
            raise SmileError(f"it has more than {TOKENS_MAX} values; send them in several documents")
        if 0x40 <= token < 0xC0:
            return self._short_text(token)
        if 0xC0 <= token < 0xE0:
            return _unfolded(token & 0x1F)
        if token in _INT_BYTES:
            return self._integer(_INT_BYTES[token])
        if token in (0x28, 0x29):
            return self._float(token)
        if token == _START_OBJECT:
            return self._object()
        if token == _START_ARRAY:
            return self._array()
        if 0x20 <= token < 0x24:
            return ("", None, False, True)[token - 0x20]
        if token in (0xE0, 0xE4):
            return self._long_text("ascii" if token == 0xE0 else "utf-8")
        return self._shared_text(token)

    def _object(self) -> dict[str, Any]:
        self._enter()
        found: dict[str, Any] = {}
        data = self._data
        while (token := data[self.at]) != _END_OBJECT:
            self.at += 1
            name = self._name(token)
            found[name] = self.value()
        self._leave()
        return found

    def _array(self) -> list[Any]:
        self._enter()
        found: list[Any] = []
        data = self._data
        while data[self.at] != _END_ARRAY:
            found.append(self.value())
        self._leave()
        return found

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise SmileError(f"it has more than {DEPTH_MAX} levels")

    def _leave(self) -> None:
        self._depth -= 1
        self.at += 1

    def _name(self, token: int) -> str:
        if 0x40 <= token < 0x80:
            return self._referred(self._names, token - 0x40)
        if 0x30 <= token < 0x34:
            return self._referred(self._names, (token & 3) << 8 | self._byte())
        if token == 0x20:
            return ""
        if 0x80 <= token < 0xC0:
            name = self._text(token - 0x7F, "ascii")
        elif 0xC0 <= token < 0xF8:
            name = self._text(token - 0xBE, "utf-8")
        elif token == 0x34:
            name = self._long_text("utf-8")
        else:
            raise self._unknown(token, "name")
        _share(self._names, name)
        return name

    def _short_text(self, token: int) -> str:
        text = self._text(token - 0x3F, "ascii") if token < 0x80 else self._text(token - 0x7E, "utf-8")
        _share(self._texts, text)
        return text

    def _shared_text(self, token: int) -> str:
        if 0 < token < 0x20:
            return self._referred(self._texts, token - 1)
        if 0xEC <= token < 0xF0:
            return self._referred(self._texts, (token & 3) << 8 | self._byte())
        raise self._unknown(token, "value")

    def _referred(self, table: list[str] | None, number: int) -> str:
        if table is None or number >= len(table):
            raise SmileError(f"byte {self.at - 1} refers to text {number}, which was not given")
        return table[number]

    def _text(self, length: int, encoding: str) -> str:
        return self._taken(length).decode(encoding)

    def _long_text(self, encoding: str) -> str:
        end = self._data.find(_END_TEXT, self.at)
        if end < 0:
            raise IndexError
        text = self._data[self.at : end].decode(encoding)
        self.at = end + 1
        return text

    def _integer(self, bytes_max: int) -> int:
        """Big-endian in 7 bits a byte, 6 in the last one, whose top bit is set."""
        data, start = self._data, self.at
        last = start
        while data[last] < 0x80 and last - start < bytes_max:
            last += 1
        self.at = last + 1
        folded = _joined(data[start:last]) << 6 | data[last] & 0x3F
        if last - start == bytes_max or folded >> (32 if bytes_max == 5 else 64):
            raise SmileError(f"the integer before byte {self.at} is too long for its kind")
        return _unfolded(folded)

    def _float(self, token: int) -> float:
        length, wide, layout = (5, 32, ">f") if token == 0x28 else (10, 64, ">d")
        groups = self._taken(length)
        if max(groups) >= 0x80:
            raise SmileError(f"the number before byte {self.at} has a byte of 8 bits")
        bits = _joined(groups)
        if bits >> wide:
            raise SmileError(f"the number before byte {self.at} has more than {wide} bits")
        number: float = struct.unpack(layout, bits.to_bytes(wide // 8, "big"))[0]
        return number

    def _taken(self, length: int) -> bytes:
        start = self.at
        self.at += length
        taken = self._data[start : self.at]
        if len(taken) < length:
            raise IndexError
        return taken

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _unknown(self, token: int, what: str) -> SmileError:
        return SmileError(f"byte {self.at - 1}, 0x{token:02x}, is no {what} that is known here")


def _share(table: list[str] | None, text: str) -> None:
    if table is None:
        return
    if len(table) == _TABLE:
        table.clear()
    table.append(text)


def _joined(groups: bytes) -> int:
    """Groups of 7 bits as one number."""
    joined = 0
    for group in groups:
        joined = joined << 7 | group
    return joined


def _unfolded(folded: int) -> int:
    """Zigzag: the sign is the lowest bit."""
    return folded >> 1 ^ -(folded & 1)
