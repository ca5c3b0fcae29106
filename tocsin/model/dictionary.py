"""The data dictionary: every table, column, metric, tag and cube with its type, unit and meaning, made from the code.

What the catalogue, the tags and the cubes say of themselves is taken from there; `_MEANINGS` has the other columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tocsin.model.asl.words.catalogue import formula, part_name
from tocsin.model.catalogue import HISTOGRAMS, MEASURES, METRICS, MOMENTS, Definition, Metric
from tocsin.model.cubes import Cube
from tocsin.model.heartbeat import OUTCOMES, REASONS, STATES
from tocsin.model.tables import QUARANTINE, ROW_KINDS, TABLES, Table
from tocsin.model.tags import BY_KEY, TAGS

_ROWS = {
    "deltas": "what one bucket of the log adds to a cell and minute, for 6 hours; or (cube `ledger`) its ledger row",
    "minutes": "the whole sums of a cell and minute, some 16 minutes after the minute's end",
    "hours": "the whole sums of a cell and hour",
    "folds": "a minute or hour that is folded",
    "heartbeats": "a heartbeat as it came, without duplicates; or a session's time-out",
    "sessions": "a playback, folded from its heartbeats when it has ended",
    "series": "a published point",
}
_LEDGER = {
    "messages": "messages in the bucket",
    "received": "heartbeats received",
    "duplicates": "heartbeats seen before",
    "unique": "heartbeats not seen before",
    "aggregated": "unique heartbeats that count in their minute",
    "late": "unique heartbeats too late to count",
    "future": "unique heartbeats too far ahead to count",
    "quarantined": "messages that could not be read",
    "refused": "heartbeats that the gateway refused",
    "points": "published points",
    "points_repeated": "published points of requests that had been counted",
}


def _codes(names: tuple[str, ...]) -> str:
    return ", ".join(f"{code} {name or 'none yet'}" for code, name in enumerate(names))


_MEANINGS: Mapping[str, tuple[str, str]] = {
    "log_partition": ("", "partition of the log"),
    "start_offset": ("", "first offset of the bucket that brought the row"),
    "end_offset": ("", "offset after the bucket's last"),
    "append_ms": ("ms", "epoch time at which the log took it"),
    "append_day": ("", "day of append_ms, UTC; the tables that have it are partitioned by it"),
    "cube": ("", "name of the set of keys that the row is summed by; other tags are empty: choose one cube"),
    "minute": ("", "start of the minute (in hours: of the hour), UTC"),
    "level": ("", "minutes or hours"),
    "rows": ("rows", "rows that the fold wrote"),
    "row_kind": ("", f"one of {', '.join(ROW_KINDS)}; the unique ones are the heartbeats that count"),
    "session_id": ("", "random id of one playback"),
    "sdk": ("", "name and version of the library that measured"),
    "error_message": ("", "text of the error"),
    "seq": ("", "number of the heartbeat in its session, from 0"),
    "ts_ms": ("ms", "epoch time of the end of the interval, or of the point"),
    "interval_ms": ("ms", "time since the session's last heartbeat"),
    "playhead_ms": ("ms", "position in the media"),
    "error_count": ("errors", "errors reported"),
    "reason": ("", f"why it was sent: {_codes(REASONS)}"),
    "state": ("", f"state of the player: {_codes(STATES)}"),
    "bitrate_video_kbps": ("kbit/s", "video bitrate on screen"),
    "bitrate_audio_kbps": ("kbit/s", "audio bitrate being heard"),
    "error_fatal": ("", "1 where the error ended the playback"),
    "error_technical": ("", "0 where a business rule refused"),
    "sample_k": ("", "how many playbacks this one stands for: weight sums with it"),
    "received_ms": ("ms", "epoch time at which the gateway received it"),
    "shift_ms": ("ms", "added to ts_ms where the sender's clock was off by more than 30 s"),
    "start_ms": ("ms", "epoch time of the start"),
    "end_ms": ("ms", "epoch time of the last heartbeat's end"),
    "folded_ms": ("ms", "append time up to which heartbeats were looked at"),
    "n": ("session-minutes", "distinct sessions seen in the minute, unweighted"),
    "ordinal": ("", "place of the point in its bucket"),
    "name": ("", "name of the series"),
    "series_id": ("", "hash of name and tags"),
    "tags": ("", "all tags of the series but its name"),
    "type": ("", "gauge, rate or sum"),
    "value": ("", "value, in the unit of the series"),
}
_IN_TABLE: Mapping[tuple[str, str], tuple[str, str]] = {
    ("heartbeats", "outcome"): ("", f"how the playback ended: {_codes(OUTCOMES)}"),
    ("heartbeats", "startup_ms"): ("ms", "start-up time, in the heartbeat of the first frame; else -1"),
    ("sessions", "outcome"): ("", f"one of {', '.join(name for name in OUTCOMES if name)}"),
    ("sessions", "startup_ms"): ("ms", "start-up time; -1 where no frame was shown"),
}
_MOMENT_PARTS = {
    "k": "session-minutes with X > 0",
    "sx": "ΣX over session-minutes",
    "sy": "ΣY over session-minutes",
    "sxx": "ΣX² over session-minutes",
    "syy": "ΣY² over session-minutes",
    "sxy": "ΣXY over session-minutes",
}

EXAMPLES: Mapping[str, str] = {
    "How playbacks ended, by CDN": """
SELECT cdn, outcome, sum(sample_k) AS playbacks
FROM sessions GROUP BY cdn, outcome ORDER BY cdn, outcome
""",
    "Rebuffering by CDN and hour over a day": """
SELECT minute AS hour, cdn, sum(rebuffer_ms) / sum(playing_ms + rebuffer_ms) AS ratio
FROM hours WHERE "cube" = 'title,cdn' AND minute >= now() - INTERVAL 1 DAY
GROUP BY hour, cdn ORDER BY hour, cdn
""",
    "The playbacks that stalled longest": """
SELECT session_id, title, device, rebuffer_ms, playing_ms
FROM sessions ORDER BY rebuffer_ms DESC LIMIT 20
""",
    "One playback, heartbeat by heartbeat": """
SELECT seq, ts_ms, state, playing_ms, rebuffer_ms
FROM heartbeats WHERE session_id = {session:String} AND row_kind = 'unique' ORDER BY seq
""",
}
"""Statements by what they answer."""


@dataclass(frozen=True, slots=True)
class ColumnEntry:
    """One column; `unit` is empty where it has none."""

    name: str
    type: str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One table: what a row of it is, and how many days it stays (0: for ever)."""

    name: str
    row: str
    keep_days: int
    columns: tuple[ColumnEntry, ...]


@dataclass(frozen=True, slots=True)
class MetricEntry:
    """One metric; `word` is its word in the stack language, `formulas` are by definition, the default first."""

    name: str
    kind: str
    unit: str
    meaning: str
    word: str
    formulas: dict[str, str]


@dataclass(frozen=True, slots=True)
class TagEntry:
    """One tag: its column, the name that players send, how many values it may have."""

    key: str
    sent_as: str
    values_max: int


@dataclass(frozen=True, slots=True)
class Dictionary:
    """All of it; `cubes` are the declared ones, by name, with their keys."""

    tables: tuple[TableEntry, ...]
    metrics: tuple[MetricEntry, ...]
    tags: tuple[TagEntry, ...]
    cubes: dict[str, tuple[str, ...]]


def dictionary(cubes: Iterable[Cube], keep_days: Mapping[str, int]) -> Dictionary:
    """The dictionary of an installation: its cubes, and its retention where it differs from the default."""
    return Dictionary(
        tuple(
            TableEntry(
                table.name, _ROWS[table.name], keep_days.get(table.name, table.keep_days), tuple(_columns(table))
            )
            for table in TABLES
            if table is not QUARANTINE
        ),
        tuple(
            MetricEntry(m.name, m.kind, m.unit, m.doc, f":{m.word}" if m.word else "", _formulas(m))
            for m in METRICS.values()
        ),
        tuple(TagEntry(tag.key, tag.wire, tag.budget) for tag in TAGS),
        {cube.name: cube.keys for cube in cubes},
    )


def _columns(table: Table) -> Iterator[ColumnEntry]:
    for name, kind in table.columns:
        unit, meaning = _IN_TABLE.get((table.name, name)) or _described(name)
        yield ColumnEntry(name, kind, unit, meaning)


def _described(name: str) -> tuple[str, str]:
    """Unit and meaning of a column that means the same in every table."""
    if name in BY_KEY:
        return "", f"tag {BY_KEY[name].wire}; empty: not given, or not a key of the cube"
    if name in MEASURES:
        measure = MEASURES[name]
        return measure.unit, measure.doc if measure.by == "sum" else f"{measure.doc} (merges by maximum)"
    if name in HISTOGRAMS:
        return "", f"{HISTOGRAMS[name].doc}: percentile bucket to count"
    if name.startswith("ledger_"):
        return "", f"ledger row: {_LEDGER[name.removeprefix('ledger_')]}"
    moments, _, part = name.rpartition("_")
    if moments in MOMENTS:
        return "", f"{_MOMENT_PARTS[part]}, unweighted; X over Y is {MOMENTS[moments].doc}"
    return _MEANINGS[name]


def _formulas(metric: Metric) -> dict[str, str]:
    if metric.definitions:
        return {name: formula(definition) for name, definition in metric.definitions.items()}
    if metric.kind == "counter":
        return {"": formula(Definition(metric.parts, {}, metric.scale))}
    return {"": f"max({', '.join(metric.parts)})"}


def markdown(found: Dictionary) -> str:
    """The dictionary as a page; measures, which several tables have, stand in one list."""
    return "\n".join(_lines(found)).rstrip() + "\n"


_INTRODUCTION = """# Data dictionary

What `POST /v1/sql`, `tocsin sql` and `tocsin_client` read. SQL is ClickHouse's, one SELECT, read-only; values are bound
as `{name:Type}`. Rows that replace one another (a session folded again) come once. Times are UTC. This page is made
from the code; a running Tocsin answers with its own cubes and retention at `GET /v1/dictionary`.

Sums are of whole playbacks: a session that stands for k others counts k times. `n` and moments are not weighted. `cube`
is a keyword of SQL: write it in double quotes, and always choose one, for each cube counts every heartbeat.
"""


def _lines(found: Dictionary) -> Iterator[str]:
    yield _INTRODUCTION
    yield "## Questions\n"
    for title, sql in EXAMPLES.items():
        yield f"{title}:\n\n```sql{sql}```\n"
    measures = {column.name for column in found.tables[1].columns} - {"cube", "minute", *BY_KEY}
    yield "## Tables\n"
    for table in found.tables:
        kept = f"kept {table.keep_days} days" if table.keep_days else "kept for ever"
        yield f"### {table.name}\n\nA row is {table.row}; {kept}.\n"
        shared = measures if table.name in ("deltas", "minutes", "hours") else set()
        yield from _columns_table(c for c in table.columns if c.name not in BY_KEY and c.name not in shared)
        others = [
            name for name, has in (("[tags](#tags)", _has(table, BY_KEY)), ("[measures](#measures)", shared)) if has
        ]
        yield f"\nand all {' and '.join(others)}.\n" if others else ""
    yield "## Measures\n\nColumns of deltas, minutes and hours.\n"
    yield from _columns_table(column for column in found.tables[1].columns if column.name in measures)
    yield "\n## Tags\n\nA value past a tag's number of values becomes `__other__`.\n"
    yield "| column | sent as | values at most |\n| --- | --- | --- |"
    yield from (f"| {tag.key} | {tag.sent_as} | {tag.values_max} |" for tag in found.tags)
    yield "\n## Cubes\n\nBy default; declared by `cubes` in the configuration.\n"
    yield "| cube | tags with values |\n| --- | --- |"
    yield from (f"| {name} | {', '.join(keys) or 'none'} |" for name, keys in found.cubes.items())
    yield f"\n## Metrics\n\nSeries of the stack language. Each measure is one, too: `{part_name('rebuffer_ms')}`.\n"
    yield "| metric | unit | meaning | word | formula |\n| --- | --- | --- | --- | --- |"
    for metric in found.metrics:
        formulas = "; ".join(f"{name}: {text}" if name else text for name, text in metric.formulas.items())
        yield f"| {metric.name} | {metric.unit} | {metric.meaning} | {_code(metric.word)} | {formulas} |"


def _has(table: TableEntry, names: Mapping[str, object]) -> bool:
    return any(column.name in names for column in table.columns)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _columns_table(columns: Iterable[ColumnEntry]) -> Iterator[str]:
    yield "| column | type | unit | meaning |\n| --- | --- | --- | --- |"
    yield from (f"| {column.name} | {column.type} | {column.unit} | {column.meaning} |" for column in columns)
