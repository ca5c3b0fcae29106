"""Findings as published series, and their latest state read back from the store.

| series | value |
| --- | --- |
| artwork.expected {title, lang, kind} | 1 for an image of the inventory, 0 once it is no longer expected |
| artwork.missing {title, lang, kind} | 1 where it is missing or wrong, 0 where it is present |
| artwork.wrong {title, lang, kind} | 1 where it is there but wrong |
| artwork.launch_s {title} | epoch seconds of the title's launch |

Points are written on change only and carried forward, so the history tells when an image went missing and when it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from artwork.checker import Finding
from tocsin.adapters.store.port import Store
from tocsin.model.points import Point

EXPECTED = "artwork.expected"
MISSING = "artwork.missing"
WRONG = "artwork.wrong"
LAUNCH = "artwork.launch_s"

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Known:
    """What the store last heard of one image; `since_ms` is when `missing` took its value."""

    missing: bool
    wrong: bool
    since_ms: int
    launch_ms: int = 0


def changes(findings: Iterable[Finding], known: Mapping[Key, Known], now_ms: int) -> list[Point]:
    """The points to publish: what differs from `known`. `unknown` findings change nothing; images that left the
    inventory are no longer expected and no longer missing."""
    points: list[Point] = []
    listed: set[Key] = set()
    launches: dict[str, int] = {}
    for finding in findings:
        key = finding.image.key
        listed.add(key)
        was = known.get(key)
        if finding.image.launch_ms and (was is None or was.launch_ms != finding.image.launch_ms):
            launches[key[0]] = finding.image.launch_ms
        if finding.state == "unknown":
            continue
        wrong = finding.state == "wrong"
        missing = finding.state != "present"
        if was is None:
            points.append(_point(EXPECTED, key, now_ms, 1))
        if was is None or was.missing != missing:
            points.append(_point(MISSING, key, now_ms, missing))
        if (was.wrong if was else False) != wrong:
            points.append(_point(WRONG, key, now_ms, wrong))
    for key in known.keys() - listed:
        points.extend(_point(name, key, now_ms, 0) for name in (EXPECTED, MISSING, WRONG))
    points.extend(
        Point(LAUNCH, {"title": title}, now_ms, launch_ms / 1000) for title, launch_ms in sorted(launches.items())
    )
    return points


def _point(name: str, key: Key, now_ms: int, value: float) -> Point:
    return Point(name, dict(zip(("title", "lang", "kind"), key, strict=True)), now_ms, float(value))


def latest(store: Store) -> dict[Key, Known]:
    """The last state of every image that is still expected."""
    rows = store.query(
        "SELECT name, tags['title'] AS title, tags['lang'] AS lang, tags['kind'] AS kind,"
        " argMax(value, (ts_ms, ordinal)) AS last, argMax(ts_ms, (ts_ms, ordinal)) AS since"
        " FROM series WHERE name IN ({expected:String}, {missing:String}, {wrong:String}, {launch:String})"
        " GROUP BY name, title, lang, kind",
        {"expected": EXPECTED, "missing": MISSING, "wrong": WRONG, "launch": LAUNCH},
    )
    last = {(name, title, lang, kind): (float(value), int(since)) for name, title, lang, kind, value, since in rows}
    found: dict[Key, Known] = {}
    for (name, *key), (value, _) in last.items():
        if name != EXPECTED or not value:
            continue
        title, lang, kind = key
        missing, since_ms = last.get((MISSING, title, lang, kind), (0.0, 0))
        wrong, _ = last.get((WRONG, title, lang, kind), (0.0, 0))
        launch_s, _ = last.get((LAUNCH, title, "", ""), (0.0, 0))
        found[title, lang, kind] = Known(bool(missing), bool(wrong), since_ms, int(launch_s * 1000))
    return found
