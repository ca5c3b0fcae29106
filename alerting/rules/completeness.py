"""Kind `completeness`: something that must be there before a date is not (a title's artwork before its launch).

Reads the newest point of `<metric>` (1 = missing), `<stem>.wrong` and `<stem>.launch_s` (epoch seconds of the launch,
by title), where stem is the metric's name without its last word. One finding a title, due within `within_days`.
"""

from __future__ import annotations

from collections.abc import Sequence

from alerting.rules.evidence import Options
from alerting.rules.kinds import Finding, Kind, LastPoint

DAY_MS = 86_400_000
WITHIN_DAYS = 7.0
LATE_DAYS = 1.0
"""A title that launched this long ago still counts; after that its owner knows."""


def series_of(metric: str) -> tuple[str, ...]:
    """Names of the series that a completeness rule on `metric` reads."""
    stem = metric.rpartition(".")[0]
    return (metric, f"{stem}.wrong", f"{stem}.launch_s")


def judge_points(points: Sequence[LastPoint], options: Options, now_ms: int) -> list[Finding]:
    """One finding for each title with something missing or wrong whose launch is near, soonest first."""
    within_ms = options.extra.get("within_days", WITHIN_DAYS) * DAY_MS
    late_ms = options.extra.get("late_days", LATE_DAYS) * DAY_MS
    launches = {point.tags.get("title", ""): point.value * 1000 for point in points if point.name.endswith(".launch_s")}
    lacking: dict[str, list[LastPoint]] = {}
    for point in points:
        title = point.tags.get("title", "")
        if point.name.endswith(".launch_s") or point.value <= 0 or not title:
            continue
        if title in launches and -late_ms <= launches[title] - now_ms <= within_ms:
            lacking.setdefault(title, []).append(point)
    findings = []
    for title in sorted(lacking, key=lambda name: (launches[name], name)):
        bad = sorted(lacking[title], key=lambda point: sorted(point.tags.items()))
        days = (launches[title] - now_ms) / DAY_MS
        when = f"launches in {days:.1f} days" if days > 0 else f"launched {-days:.1f} days ago"
        items = [{**point.tags, "problem": point.name.rpartition(".")[2]} for point in bad]
        named = ", ".join(" ".join(v for k, v in item.items() if k != "title") for item in items[:5])
        findings.append(
            Finding(
                {"title": title}, float(len(bad)), 0.0, min(point.ts_ms for point in bad),
                f"title {title} {when} and lacks {len(bad)} image(s): {named}", items,
            )
        )  # fmt: skip
    return findings


KIND = Kind(
    "completeness", "what must exist before a title's launch is missing",
    judge_points=judge_points, series_of=series_of,
    properties={
        "within_days": {"type": "number", "exclusiveMinimum": 0, "maximum": 366, "description": "days before launch"},
        "late_days": {"type": "number", "minimum": 0, "maximum": 366, "description": "days after launch"},
    },
)  # fmt: skip
