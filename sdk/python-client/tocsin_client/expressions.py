"""Expressions of the stack language for metrics of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tocsin_client.exchange import TocsinError

Where = Mapping[str, str | Sequence[str]]


def token(text: str) -> str:
    """A value as one token: what the language reads as more is escaped."""
    return re.sub(r"[,:()\\/*\s]", lambda found: f"\\u{ord(found[0]):04x}", text)


def condition(where: Where) -> str:
    """All of the conditions: a tag's value, or one of several."""
    program = ":true"
    for at, (key, value) in enumerate(where.items()):
        one = (
            f"{token(key)},{token(value)},:eq"
            if isinstance(value, str)
            else f"{token(key)},(,{','.join(map(token, value))},),:in"
        )
        program = one if at == 0 else f"{program},{one},:and"
    return program


def find_metric(name: str, metrics: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The dictionary's entry of `rebuffer_ratio`, `rebuffer-ratio` or `qoe.rebuffer.ratio`."""
    known = {_plain(spelling): entry for entry in metrics for spelling in (entry["name"], entry["word"]) if spelling}
    if _plain(name) not in known:
        raise TocsinError(0, f"no metric {name!r}; there are {', '.join(sorted(known))}")
    return known[_plain(name)]


def _plain(name: str) -> str:
    return re.sub(r"[-.]", "_", name.removeprefix("qoe.").removeprefix(":"))


def metric(entry: Mapping[str, Any], where: Where, by: Sequence[str], definition: str, compare: str) -> str:
    """The lines of a metric, and where `compare` is a span such as `1w`, those of so long ago beside them."""
    if entry["word"]:
        word = f"{definition},{entry['word']}" if definition else entry["word"]
        program = f"{condition(where)},{word}"
    else:
        aggregate = ":max" if entry["kind"] == "max" else ":sum"
        program = f"name,{entry['name']},:eq,{condition(where)},:and,{aggregate}"
    if by:
        program += f",(,{','.join(map(token, by))},),:by"
    legend = " ".join(f"$({key})" for key in by) or entry["name"]
    line = f"{program},{token(legend)},:legend"
    return f"{line},{program},{token(compare)},:offset,{token(f'{legend} {compare} ago')},:legend" if compare else line
