"""A fault as one word of a command line: `stall:cdn=cdn-b,device=tv,from=2m,for=10m,factor=12`.

Before the colon stands the kind (`cohort_stall`) or a part of it that only one kind has (`stall`); after it, in any
order, tags that make the cohort, `from` (after the start), `for` and `ramp` as times, and the kind's own numbers.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable
from typing import Any

from player_sim import layout
from player_sim.audience import World
from player_sim.faults import FAULTS, Cohort, Fault, make
from tocsin.model.errors import InputError

_DURATION = re.compile(r"(\d+)(s|m|h)")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}
_TIMES = ("from", "for", "ramp")
_OWN: dict[str, Callable[[str], float]] = {"float": float, "int": int}


def parse(text: str, world: World, start_ms: int, end_ms: int) -> Fault:
    """The fault that `text` says, on from `start_ms` (plus `from`) until `end_ms` (or `for`), epoch ms.

    Raises `InputError` naming the part that cannot be used and what is known.
    """
    head, _, rest = text.partition(":")
    kind = _kind(head.strip(), text)
    numbers = {
        field.name: _OWN[str(field.type)]
        for field in dataclasses.fields(FAULTS[kind])
        if str(field.type) in _OWN and not field.name.startswith(("start_ms", "end_ms", "ramp_ms"))
    }
    tags: dict[str, str] = {}
    times: dict[str, int] = {}
    own: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, given, value = part.partition("=")
        if not given or not value:
            raise InputError(f"reading fault {text!r}: {part!r} is no KEY=VALUE")
        if key in layout.TAGS:
            world.code_of(key, value)
            tags[key] = value
        elif key in _TIMES:
            times[key] = _duration_ms(value, text)
        elif key in numbers:
            own[key] = _number(numbers[key], key, value, text)
        else:
            raise InputError(f"reading fault {text!r}: unknown key {key!r}{_near(key, [*numbers, *_TIMES])}")
    begin_ms = start_ms + times.get("from", 0)
    until_ms = begin_ms + times["for"] if "for" in times else end_ms
    if until_ms <= begin_ms:
        raise InputError(f"reading fault {text!r}: it would end before it begins; give a smaller from or a longer run")
    return make(kind, start_ms=begin_ms, end_ms=until_ms, ramp_ms=times.get("ramp", 0), cohort=Cohort.of(**tags), **own)


def _kind(word: str, text: str) -> str:
    if word in FAULTS:
        return word
    found = [kind for kind in FAULTS if word and word in kind]
    if len(found) != 1:
        raise InputError(f"reading fault {text!r}: {word!r} is none of {', '.join(FAULTS)}, nor a part of just one")
    return found[0]


def _duration_ms(value: str, text: str) -> int:
    found = _DURATION.fullmatch(value)
    if found is None:
        raise InputError(f"reading fault {text!r}: {value!r} is no time; give 30s, 5m or 1h")
    return int(found[1]) * _UNIT_MS[found[2]]


def _number(kind: Callable[[str], float], key: str, value: str, text: str) -> float:
    try:
        return kind(value)
    except ValueError as error:
        raise InputError(f"reading fault {text!r}: {key} = {value!r} is no number") from error


def _near(key: str, numbers: list[str]) -> str:
    known = [*layout.TAGS, *numbers]
    found = difflib.get_close_matches(key, known, 1, 0.6)
    return f"; did you mean {found[0]!r}?" if found else f"; known are {', '.join(known)}"
