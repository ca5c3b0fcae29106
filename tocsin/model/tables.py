"""The store's tables, generated from the catalogue: column names, ClickHouse types, DDL, what each column means.

| table | one row is | kept |
| --- | --- | --- |
| deltas | what a bucket of a partition adds to one cell and minute; or its ledger row (cube `ledger`) | 6 h |
| minutes, hours | complete sums of one cell and minute or hour | 40 d, 400 d |
| folds | one folded minute or hour and the number of rows it has | as minutes |
| heartbeats | one heartbeat as it came (no duplicates; `row_kind` in ROW_KINDS), or a session's time-out | 8 d |
| sessions | one playback, folded from its heartbeats when it ends | 40 d |
| series | one published point | 40 d |
| quarantine | bytes that could not be read, whole | 40 d |

`deltas` and `heartbeats` are partitioned by append day, so that one insert is one block of one table partition:
written whole or not at all. Every row of them carries `log_partition` and `start_offset`, its bucket.
"""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.model.catalogue import HISTOGRAMS, MEASURES, MOMENTS
from tocsin.model.heartbeat import BATCH_COLUMNS
from tocsin.model.tags import TAG_KEYS

SUM_COLUMNS: tuple[str, ...] = tuple(name for name, measure in MEASURES.items() if measure.by == "sum")
MAX_COLUMNS: tuple[str, ...] = tuple(name for name, measure in MEASURES.items() if measure.by == "max")
MOMENT_COLUMNS: tuple[str, ...] = ("n", *(column for moments in MOMENTS.values() for column in moments.columns))
HISTOGRAM_COLUMNS: tuple[str, ...] = tuple(HISTOGRAMS)
ADDITIVE_COLUMNS: tuple[str, ...] = (*SUM_COLUMNS, *MOMENT_COLUMNS)
"""Int64 columns that merge by sum, in table order."""

LEDGER_CUBE = "ledger"
LEDGER_COLUMNS: tuple[str, ...] = (
    "messages", "received", "duplicates", "unique", "aggregated", "late", "future", "quarantined", "refused", "points",
    "points_repeated",
)  # fmt: skip
"""Counts of a bucket's ledger row: messages in the bucket; the rest in heartbeats, or in published points: those that
are stored, and those of requests that came again (`Idempotency-Key`).

received = duplicates + unique; unique = aggregated + late + future; quarantined counts messages that could not be read.
"""

ROW_KINDS: tuple[str, ...] = ("unique", "late", "future", "timeout", "resumed")
"""What a row of `heartbeats` is: counted; too late or too far ahead to count (kept raw); a session's time-out, and its
taking back (no heartbeat: numbers are 0, but for the session's sample_k)."""

SESSION_COLUMNS: tuple[str, ...] = (
    "startup_wait_ms", "playing_ms", "rebuffer_ms", "seek_wait_ms", "paused_ms", "ad_ms", "freeze_ms", "media_ms",
    "bits_kb", "rebuffer_count", "seek_count", "upshift_count", "downshift_count", "error_count", "frames_dropped",
    "frames_total", "req_n", "req_err_n",
)  # fmt: skip
"""Totals of a playback in `sessions`: plain sums of its heartbeats' fields."""


@dataclass(frozen=True, slots=True)
class Table:
    """Name, ordered (column, type) pairs, what follows the columns in CREATE TABLE, and retention.

    `keep_by` is the date or time that a row's age counts from (empty: kept for ever).
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    engine: str
    keep_by: str = ""
    keep_days: int = 0
    settings: str = ""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(name for name, _ in self.columns)

    def ddl(self, keep_days: int | None = None) -> str:
        """CREATE TABLE IF NOT EXISTS, one statement; `keep_days` replaces the default retention."""
        columns = ",\n  ".join(f"`{name}` {kind}" for name, kind in self.columns)
        ttl = f" {self.ttl(self.keep_days if keep_days is None else keep_days)}" if self.keep_by else ""
        return f"CREATE TABLE IF NOT EXISTS {self.name} (\n  {columns}\n) {self.engine}{ttl}{self.settings}"

    def ttl(self, keep_days: int) -> str:
        """The clause that deletes rows when they are `keep_days` old."""
        return f"TTL {self.keep_by} + INTERVAL {keep_days} DAY DELETE"


_TAGS = tuple((key, "LowCardinality(String)") for key in TAG_KEYS)
_MEASURES = (
    *((name, "Int64") for name in ADDITIVE_COLUMNS),
    *((name, "Int64") for name in MAX_COLUMNS),
    *((name, "Map(UInt16, Int64)") for name in HISTOGRAM_COLUMNS),
)
_ORDER = ", ".join(TAG_KEYS)
_DEDUPLICATE = " SETTINGS non_replicated_deduplication_window = 10000"

DELTAS = Table(
    "deltas",
    (
        ("log_partition", "UInt16"), ("start_offset", "Int64"), ("end_offset", "Int64"), ("append_ms", "Int64"),
        ("append_day", "Date"), ("cube", "LowCardinality(String)"), ("minute", "DateTime('UTC')"), *_TAGS, *_MEASURES,
        *((f"ledger_{name}", "Int64") for name in LEDGER_COLUMNS),
    ),
    "ENGINE = MergeTree PARTITION BY append_day ORDER BY (cube, minute, log_partition, start_offset)",
    keep_by="append_day", keep_days=41, settings=_DEDUPLICATE,
)  # fmt: skip

_FOLDED = (("cube", "LowCardinality(String)"), ("minute", "DateTime('UTC')"), *_TAGS, *_MEASURES)
MINUTES = Table(
    "minutes", _FOLDED,
    f"ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(minute) ORDER BY (cube, minute, {_ORDER})",
    keep_by="minute", keep_days=40,
)  # fmt: skip
HOURS = Table(
    "hours", _FOLDED,
    f"ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(minute) ORDER BY (cube, minute, {_ORDER})",
    keep_by="minute", keep_days=400,
)  # fmt: skip
FOLDS = Table(
    "folds",
    (("level", "LowCardinality(String)"), ("minute", "DateTime('UTC')"), ("rows", "UInt64")),
    "ENGINE = ReplacingMergeTree ORDER BY (level, minute)",
)
HEARTBEATS = Table(
    "heartbeats",
    (
        ("log_partition", "UInt16"), ("start_offset", "Int64"), ("append_ms", "Int64"), ("append_day", "Date"),
        ("row_kind", "LowCardinality(String)"), ("minute", "DateTime('UTC')"), ("session_id", "String"), *_TAGS,
        ("sdk", "LowCardinality(String)"), ("error_message", "String"),
        *((name, "Int64") for name in BATCH_COLUMNS),
    ),
    "ENGINE = MergeTree PARTITION BY append_day ORDER BY (minute, session_id, seq)",
    keep_by="append_day", keep_days=8, settings=_DEDUPLICATE,
)  # fmt: skip
SESSIONS = Table(
    "sessions",
    (
        ("session_id", "String"), ("start_ms", "Int64"), ("end_ms", "Int64"), ("folded_ms", "Int64"), *_TAGS,
        ("outcome", "LowCardinality(String)"), ("startup_ms", "Int64"), ("heartbeats", "Int64"),
        ("sample_k", "Int64"), *((name, "Int64") for name in SESSION_COLUMNS),
    ),
    "ENGINE = ReplacingMergeTree(folded_ms) ORDER BY (session_id)",
    keep_by="toDateTime(intDiv(end_ms, 1000))", keep_days=40,
)  # fmt: skip
SERIES = Table(
    "series",
    (
        ("log_partition", "UInt16"), ("start_offset", "Int64"), ("append_day", "Date"), ("ordinal", "Int64"),
        ("name", "LowCardinality(String)"), ("series_id", "UInt64"), ("tags", "Map(LowCardinality(String), String)"),
        ("type", "LowCardinality(String)"), ("ts_ms", "Int64"), ("value", "Float64"),
    ),
    "ENGINE = MergeTree PARTITION BY append_day ORDER BY (name, series_id, ts_ms)",
    keep_by="toDateTime(intDiv(ts_ms, 1000))", keep_days=40, settings=_DEDUPLICATE,
)  # fmt: skip
QUARANTINE = Table(
    "quarantine",
    (
        ("log_partition", "UInt16"), ("start_offset", "Int64"), ("offset", "Int64"), ("append_ms", "Int64"),
        ("append_day", "Date"), ("reason", "String"), ("payload", "String"),
    ),
    "ENGINE = MergeTree PARTITION BY append_day ORDER BY (log_partition, offset)",
    keep_by="append_day", keep_days=40, settings=_DEDUPLICATE,
)  # fmt: skip

TABLES: tuple[Table, ...] = (DELTAS, MINUTES, HOURS, FOLDS, HEARTBEATS, SESSIONS, SERIES, QUARANTINE)


def merge_expressions() -> tuple[str, ...]:
    """SELECT expressions that merge measure columns of several rows into one: sums, maxima, summed maps."""
    return (
        *(f"sum({name}) AS {name}" for name in ADDITIVE_COLUMNS),
        *(f"max({name}) AS {name}" for name in MAX_COLUMNS),
        *(f"sumMap({name}) AS {name}" for name in HISTOGRAM_COLUMNS),
    )
