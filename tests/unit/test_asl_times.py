"""The time grammar: durations, points, ranges and steps."""

from __future__ import annotations

import datetime as dt

import pytest

from tocsin.model.asl.errors import AslError
from tocsin.model.asl.times import (
    DAY,
    HOUR,
    MINUTE,
    WEEK,
    format_duration,
    iso_duration,
    parse_duration,
    parse_point,
    parse_range,
    parse_zone,
    round_step,
    step_for_width,
)

NOW = 1_795_176_000_000  # 2026-11-20T12:00:00Z


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("5m", 5 * MINUTE),
        ("1w", WEEK),
        ("2wk", 2 * WEEK),
        ("90seconds", 90_000),
        ("1500ms", 1500),
        ("1month", 30 * DAY),
        ("PT5M", 5 * MINUTE),
        ("P1DT1H", DAY + HOUR),
        ("PT0.5S", 500),
        ("-PT1M", -MINUTE),
        ("1y", 365 * DAY),
    ],
)
def test_durations(text: str, ms: int) -> None:
    """A number with a unit, or ISO 8601."""
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "P", "PT", "5parsecs", "99999999999y", "P1M"])
def test_bad_durations(text: str) -> None:
    """What is no duration is refused."""
    with pytest.raises(AslError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("ms", "short", "iso"),
    [(0, "0w", "PT0S"), (WEEK, "1w", "PT168H"), (90 * MINUTE, "90m", "PT1H30M"), (1500, "PT1.5S", "PT1.5S")],
)
def test_durations_print(ms: int, short: str, iso: str) -> None:
    """The shortest exact unit, and ISO 8601."""
    assert (format_duration(ms), iso_duration(ms)) == (short, iso)


@pytest.mark.parametrize(
    ("text", "zone", "ms"),
    [
        ("2026-11-20T12:00Z", "UTC", NOW),
        ("2026-11-20T07:00", "US/Eastern", NOW),
        ("2026-11-20T14:00+02:00", "US/Eastern", NOW),
        ("2026-11-20T14:00:00+0200", "UTC", NOW),
        ("2026-11-20", "UTC", NOW - 12 * HOUR),
        ("2026-11-20T12:00:00.250Z", "UTC", NOW + 250),
        ("1795176000", "UTC", NOW),
        ("1795176000000", "UTC", NOW),
        ("1795176000000000", "UTC", NOW),
        ("1795176000-1h", "UTC", NOW - HOUR),
        ("now-1d", "UTC", NOW - DAY),
        ("epoch", "UTC", 0),
        ("2026-03-08T02:30", "US/Eastern", 1_772_955_000_000),  # the hour that summer time skips: taken as winter time
    ],
)
def test_points(text: str, zone: str, ms: int) -> None:
    """Relative, ISO and Unix times mean what the grammar says."""
    assert parse_point(text, parse_zone(zone), {}, NOW) == ms


def test_range_refers_either_way() -> None:
    """The start may refer to the end and the end to the start, not both."""
    assert parse_range("e-3h", "now", dt.UTC, NOW) == (NOW - 3 * HOUR, NOW)
    assert parse_range("2026-11-20T12:00Z", "s+1h", dt.UTC, NOW) == (NOW, NOW + HOUR)
    with pytest.raises(AslError, match="both relative"):
        parse_range("e-1h", "s+1h", dt.UTC, NOW)


def test_unknown_name_is_told_from_a_reversed_range() -> None:
    """`yesterday` is named as unknown, not read as now."""
    with pytest.raises(AslError, match="unknown time 'yesterday'"):
        parse_range("yesterday", "now", dt.UTC, NOW)
    with pytest.raises(AslError, match="end time is before start time"):
        parse_range("e+1h", "now", dt.UTC, NOW)


@pytest.mark.parametrize("zone", ["Mars/One", "", "+25:00", "../etc/passwd"])
def test_unknown_zones_are_refused(zone: str) -> None:
    """A zone that does not exist is an error of the caller."""
    with pytest.raises(AslError, match="unknown time zone"):
        parse_zone(zone)


@pytest.mark.parametrize(
    ("step", "rounded"),
    [
        (1, MINUTE),
        (7 * MINUTE, 10 * MINUTE),
        (31 * MINUTE, HOUR),
        (5 * HOUR, 6 * HOUR),
        (13 * HOUR, DAY),
        (25 * HOUR, 2 * DAY),
    ],
)
def test_steps_round_up_to_allowed_ones(step: int, rounded: int) -> None:
    """Divisors of an hour and a day, then whole days."""
    assert round_step(MINUTE, step) == rounded


def test_width_caps_points() -> None:
    """Three days in 1,440 pixels take a step of 3 minutes; a short range keeps the step."""
    assert step_for_width(MINUTE, 1440, NOW - 3 * DAY, NOW, MINUTE) == 3 * MINUTE
    assert step_for_width(MINUTE, 700, NOW, NOW, MINUTE) == MINUTE
