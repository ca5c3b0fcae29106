"""Time in the stack language: durations, points in time, ranges, and which steps are allowed.

A duration is a number and a unit (`5m`, `1w`) or ISO 8601 (`PT5M`); a point is relative (`e-30m`, `now-1h`), ISO 8601
with or without a zone, or a Unix time in seconds, milliseconds, microseconds or nanoseconds, told apart by its size.
All values are epoch milliseconds; "now" is handed in.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Mapping

from tocsin.model.asl.errors import AslError, nearest

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

_UNITS: dict[str, float] = {
    "ns": 1e-6, "us": 1e-3, "μs": 1e-3, "ms": 1,
    "s": SECOND, "second": SECOND, "seconds": SECOND,
    "m": MINUTE, "min": MINUTE, "minute": MINUTE, "minutes": MINUTE,
    "h": HOUR, "hour": HOUR, "hours": HOUR,
    "d": DAY, "day": DAY, "days": DAY,
    "w": WEEK, "wk": WEEK, "week": WEEK, "weeks": WEEK,
    "month": 30 * DAY, "months": 30 * DAY,
    "y": 365 * DAY, "year": 365 * DAY, "years": 365 * DAY,
}  # fmt: skip
_AMOUNT_UNIT = re.compile(r"^(\d+)([a-zμ]+)$")
_ISO_DURATION = re.compile(
    r"^([+-]?)P(?:([+-]?\d+)D)?(?:T(?=[+-]?\d)(?:([+-]?\d+)H)?(?:([+-]?\d+)M)?(?:([+-]?\d+(?:\.\d{0,9})?)S)?)?$",
    re.IGNORECASE,
)
_RELATIVE = re.compile(r"^([a-z]+)([-+])([^-+]+)$")
_NAMED = re.compile(r"^([a-z]+)$")
_UNIX = re.compile(r"^(\d+)(?:([-+])([^-+]+))?$")
_ISO_POINT = re.compile(
    r"^(\d{4}-\d{2}-\d{2})(?:T(\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?(Z|[-+]\d{2}(?::?\d{2})?(?::?\d{2})?)?$"
)
_OFFSET = re.compile(r"^([-+])(\d{1,2}):?(\d{2})?:?(\d{2})?$")

_MAX_DURATION_MS = 10_000 * 365 * DAY
_SECONDS_CUTOFF = 2**31 - 1
_MILLIS_CUTOFF = 13_569_465_600_000  # 2400-01-01T00:00Z
_STEPS_60 = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)
_ALLOWED_STEPS = (
    *(1, 5, 10, 50, 100, 500),
    *(n * SECOND for n in _STEPS_60),
    *(n * MINUTE for n in _STEPS_60),
    *(n * HOUR for n in (1, 2, 3, 4, 6, 8, 12)),
)


def parse_duration(text: str) -> int:
    """Milliseconds of `5m`, `1w`, `PT5M`; refused with the units that exist otherwise."""
    at = _AMOUNT_UNIT.match(text)
    if at:
        amount, unit = at.groups()
        if unit not in _UNITS:
            raise AslError(f"unknown unit '{unit}' of duration '{text}'{nearest(unit, _UNITS)}", token=text)
        value = int(int(amount) * _UNITS[unit])
    else:
        iso = _ISO_DURATION.match(text)
        if not iso or all(part is None for part in iso.groups()[1:]):
            raise AslError(f"invalid duration '{text}': write a number and a unit (5m, 1w) or ISO 8601 (PT5M)")
        sign, days, hours, minutes, seconds = iso.groups()
        value = int(days or 0) * DAY + int(hours or 0) * HOUR + int(minutes or 0) * MINUTE
        value += round(float(seconds or 0) * SECOND)
        value = -value if sign == "-" else value
    if abs(value) > _MAX_DURATION_MS:
        raise AslError(f"duration out of range: '{text}'")
    return value


def format_duration(ms: int) -> str:
    """The shortest exact form in one unit: `1w`, `90m`, `0w`."""
    for size, unit in ((WEEK, "w"), (DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")):
        if ms % size == 0:
            return f"{ms // size}{unit}"
    return iso_duration(ms)


def iso_duration(ms: int) -> str:
    """ISO 8601 in hours, minutes and seconds: `PT5M`, `PT168H`, `PT0S`."""
    if ms == 0:
        return "PT0S"
    hours, rest = divmod(abs(ms), HOUR)
    minutes, rest = divmod(rest, MINUTE)
    minus = "-" if ms < 0 else ""
    text = "PT" + (f"{minus}{hours}H" if hours else "") + (f"{minus}{minutes}M" if minutes else "")
    if rest:
        whole, part = divmod(rest, SECOND)
        text += f"{minus}{whole}" + (f".{part:03d}".rstrip("0") if part else "") + "S"
    return text


def parse_zone(text: str) -> dt.tzinfo:
    """A time zone by its name in the tz database, `Z`, or an offset (`+02:00`, `UTC+2`)."""
    rest = text
    for prefix in ("UTC", "GMT", "UT"):
        if text.startswith(prefix) and len(text) > len(prefix) and text[len(prefix)] in "+-":
            rest = text[len(prefix) :]
    if rest in ("Z", "UTC"):
        return dt.UTC
    offset = _OFFSET.match(rest)
    if offset:
        sign, hours, minutes, seconds = offset.groups()
        delta = dt.timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
        if delta <= dt.timedelta(hours=18):
            return dt.timezone(-delta if sign == "-" else delta)
    try:
        return zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        raise AslError(f"unknown time zone '{text}'{nearest(text, known)}", token=text) from None


def reference_of(text: str) -> str | None:
    """The name that a relative or named point refers to (`e` of `e-30m`), or None."""
    found = _RELATIVE.match(text) or _NAMED.match(text)
    return found.group(1) if found else None


def parse_point(text: str, zone: dt.tzinfo, refs: Mapping[str, int], now_ms: int) -> int:
    """Epoch ms of a point in time. `refs` are the names that may be referred to besides `now` and `epoch`."""
    relative = _RELATIVE.match(text)
    if relative:
        name, sign, span = relative.groups()
        return _shift(_named(name, refs, now_ms, text), sign, span)
    if _NAMED.match(text):
        return _named(text, refs, now_ms, text)
    unix = _UNIX.match(text)
    if unix:
        digits, sign, span = unix.groups()
        start = _of_epoch(int(digits))
        return start if sign is None else _shift(start, sign, span)
    return _parse_iso(text, zone)


def _shift(start_ms: int, sign: str, span: str) -> int:
    delta = parse_duration(span)
    return start_ms - delta if sign == "-" else start_ms + delta


def _named(name: str, refs: Mapping[str, int], now_ms: int, text: str) -> int:
    known = {**refs, "now": now_ms, "epoch": 0}
    if name not in known:
        names = ", ".join(sorted(known))
        raise AslError(f"unknown time '{text}': '{name}' is none of {names}{nearest(name, known)}", token=text)
    return known[name]


def _of_epoch(value: int) -> int:
    if value <= _SECONDS_CUTOFF:
        return value * 1000
    if value <= _MILLIS_CUTOFF:
        return value
    return value // 1_000 if value <= _MILLIS_CUTOFF * 1000 else value // 1_000_000


def _parse_iso(text: str, zone: dt.tzinfo) -> int:
    found = _ISO_POINT.match(text)
    if not found:
        raise AslError(f"invalid date '{text}': write e-30m, 2026-11-20T12:00Z or a Unix time", token=text)
    day, clock, seconds, fraction, offset = found.groups()
    try:
        local = dt.datetime.fromisoformat(f"{day}T{clock or '00:00'}:{seconds or '00'}")
    except ValueError as error:
        raise AslError(f"invalid date '{text}': {error}", token=text) from None
    moment = local.replace(tzinfo=parse_zone(offset) if offset else zone)
    return round(moment.timestamp()) * 1000 + int((fraction or "0").ljust(3, "0")[:3])


def parse_range(start: str, end: str, zone: dt.tzinfo, now_ms: int) -> tuple[int, int]:
    """Start and end in epoch ms; one of them may refer to the other (`s=e-3h`, `e=s+1h`)."""

    def refers(text: str) -> bool:
        found = _RELATIVE.match(text)
        return bool(found) and found.group(1) not in ("now", "epoch") if found else False

    if refers(start) or start == "e":
        if refers(end):
            raise AslError(f"start and end are both relative: s={start}, e={end}; make one of them absolute")
        end_ms = parse_point(end, zone, {}, now_ms)
        start_ms = parse_point(start, zone, {"e": end_ms}, now_ms)
    else:
        start_ms = parse_point(start, zone, {}, now_ms)
        end_ms = parse_point(end, zone, {"s": start_ms}, now_ms)
    if start_ms > end_ms:
        raise AslError(f"end time is before start time: s={start} is {start_ms}, e={end} is {end_ms}")
    return start_ms, end_ms


def round_step(primary_ms: int, step_ms: int) -> int:
    """The next allowed step at or above a wanted one: 7 m becomes 10 m; above half a day, whole days."""
    block = 60 * primary_ms
    wanted = max(primary_ms, step_ms)
    for step in _ALLOWED_STEPS:
        fits = block % step == 0 if step <= block else step % block == 0
        if fits and step >= wanted:
            return step
    return -(-step_ms // DAY) * DAY


def step_for_width(step_ms: int, width: int, start_ms: int, end_ms: int, primary_ms: int) -> int:
    """Raise a step so that a line has no more points than `width` pixels."""
    points = (end_ms - start_ms) // step_ms
    return round_step(primary_ms, max(1, -(-points // width)) * step_ms)
