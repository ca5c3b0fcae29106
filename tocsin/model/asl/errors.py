"""Errors of the stack language: the message names the token, where it stands, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tocsin.model.errors import InputError


class AslError(InputError):
    """An expression, time or step that cannot be used. Answered as HTTP 400.

    `token` and `position` (offset in characters into the program, from 0) are filled in by the interpreter with the
    word that was being run when the fault was seen.
    """

    def __init__(self, message: str, *, token: str | None = None, position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.token = token
        self.position = position

    def at(self, token: str, position: int | None) -> AslError:
        """Note where the fault is, unless a word further in has done so; gives the same error back."""
        if self.token is None:
            self.token = token
            self.position = position
        return self

    def __str__(self) -> str:
        if self.token is None:
            return self.message
        where = "" if self.position is None else f" at position {self.position}"
        return f"{self.message} (token {self.token!r}{where})"


class AslNotFoundError(AslError):
    """Something named does not exist: a variable, a format, a vocabulary. Answered as HTTP 404."""


class AslLimitError(AslError):
    """A limit of a query was passed; the message says which and what would fit. Answered as HTTP 400."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`, did you mean ':sum'?`-style tail for an error message, or an empty string when nothing is near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean '{found[0]}'?" if found else ""
