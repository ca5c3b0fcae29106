"""The laws of the store port, asserted over the embedded engine and over a real ClickHouse server.

Both are also the parity check: every statement here must mean the same to the two.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.jobs_runner import KEEP_DAYS
from tests.jobs_world import cells_of, count_all, log_of, sent_heartbeats
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.adapters.store.port import QueryLimits, Store
from tocsin.model.errors import InputError, LimitExceededError, UnavailableError
from tocsin.model.tables import TABLES, merge_expressions

_OFFSETS = itertools.count(1_000)


@pytest.fixture(scope="module", params=["embedded", pytest.param("server", marks=pytest.mark.clickhouse)])
def dsn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Each adapter in turn."""
    if request.param == "embedded":
        return f"chdb://{tmp_path_factory.mktemp('store') / 'data'}"
    return str(request.getfixturevalue("clickhouse_server").status().dsn)


@pytest.fixture(scope="module")
def store(dsn: str) -> Iterator[Store]:
    """A store of it; tests use rows of their own."""
    opened = ClickHouseStore(dsn, KEEP_DAYS)
    yield opened
    opened.close()


def _points(offset: int, n: int, value: float = 1.0) -> pa.Table:
    """Rows of `series` of one bucket."""
    return pa.table(
        {
            "log_partition": pa.array(np.zeros(n, np.uint16)),
            "start_offset": pa.array(np.full(n, offset, np.int64)),
            "append_day": pa.array(np.full(n, 20_000, np.uint16)),
            "ordinal": pa.array(np.arange(n)),
            "name": pa.array([f"p{offset}"] * n).dictionary_encode(),
            "tags": pa.array([[("a", "ä'\\\n"), ("b", "")]] * n, pa.map_(pa.string(), pa.string())),
            "type": pa.array(["gauge"] * n),
            "ts_ms": pa.array(np.full(n, 1_900_000_000_000)),
            "value": pa.array(np.full(n, value)),
        }
    )


def _count(store: Store, offset: int) -> int:
    rows = store.query("SELECT count() FROM series WHERE start_offset = {offset:Int64}", {"offset": offset})
    return int(rows[0][0])


def test_an_insert_is_seen_by_the_next_query_with_its_values(store: Store) -> None:
    """Maps, dictionaries, text of any kind and floats come back as given."""
    offset = next(_OFFSETS)
    store.insert("series", _points(offset, 2, 0.1), f"values-{offset}")
    rows = store.query(
        "SELECT name, tags, value, ts_ms FROM series WHERE start_offset = {offset:Int64} ORDER BY ordinal",
        {"offset": offset},
    )
    assert rows == [(f"p{offset}", {"a": "ä'\\\n", "b": ""}, 0.1, 1_900_000_000_000)] * 2


def test_a_token_seen_before_stores_nothing(store: Store) -> None:
    """Even with other rows, and with other inserts in between; without a token nothing is held back."""
    offset = next(_OFFSETS)
    store.insert("series", _points(offset, 3), f"token-{offset}")
    store.insert("series", _points(next(_OFFSETS), 1), f"other-{offset}")
    store.insert("series", _points(offset, 5), f"token-{offset}")
    assert _count(store, offset) == 3
    store.insert("series", _points(offset, 3))
    assert _count(store, offset) == 6


def test_a_token_belongs_to_its_table(store: Store) -> None:
    """The same token in another table is another insert."""
    offset = next(_OFFSETS)
    store.insert("series", _points(offset, 1), f"shared-{offset}")
    quarantined = pa.table(
        {
            "log_partition": pa.array([0], pa.uint16()), "start_offset": pa.array([offset]),
            "offset": pa.array([offset]), "append_ms": pa.array([0]), "append_day": pa.array([20_000], pa.uint16()),
            "reason": pa.array(["bad"]), "payload": pa.array([b"\x00\xff\n"], pa.binary()),
        }
    )  # fmt: skip
    store.insert("quarantine", quarantined, f"shared-{offset}")
    rows = store.query(f"SELECT hex(payload) FROM quarantine WHERE start_offset = {offset}")
    assert rows == [("00FF0A",)]


def test_a_large_insert_is_one_block(store: Store) -> None:
    """100,000 rows make one part: written whole or not at all."""
    offset = next(_OFFSETS)
    store.insert("series", _points(offset, 100_000), f"large-{offset}")
    rows = store.query(
        "SELECT count(), uniqExact(_part) FROM series WHERE start_offset = {offset:Int64}", {"offset": offset}
    )
    assert rows == [(100_000, 1)]


def test_an_empty_insert_stores_nothing(store: Store) -> None:
    """No row, no block, no error, and the token stays free."""
    offset = next(_OFFSETS)
    store.insert("series", _points(offset, 1).slice(0, 0), f"empty-{offset}")
    store.insert("series", _points(offset, 1), f"empty-{offset}")
    assert _count(store, offset) == 1


def test_columns_not_given_take_their_default(store: Store) -> None:
    """Tables grow by columns that older writers do not know."""
    offset = next(_OFFSETS)
    store.insert("series", _points(offset, 1).drop_columns(["value", "tags"]), f"default-{offset}")
    rows = store.query(f"SELECT value, tags FROM series WHERE start_offset = {offset}")
    assert rows == [(0.0, {})]


def test_values_are_bound_and_never_read_as_sql(store: Store) -> None:
    """A quote in a value is a quote."""
    nasty = "'; DROP TABLE series; --"
    assert store.query("SELECT {value:String}", {"value": nasty}) == [(nasty,)]
    assert store.query("SELECT count() FROM series WHERE name = {value:String}", {"value": nasty}) == [(0,)]


def test_results_come_as_rows_columns_or_arrow(store: Store) -> None:
    """Numbers as numpy arrays, text as lists, the same values in each form."""
    sql = "SELECT number AS n, toString(number) AS s, number / 2 AS half FROM numbers(3) ORDER BY n"
    assert store.query(sql) == [(0, "0", 0.0), (1, "1", 0.5), (2, "2", 1.0)]
    columns = store.query_columns(sql)
    assert isinstance(columns["n"], np.ndarray)
    assert (columns["n"].tolist(), columns["s"], columns["half"][1]) == ([0, 1, 2], ["0", "1", "2"], 0.5)
    assert store.query_arrow(sql).column("s").to_pylist() == ["0", "1", "2"]


def test_a_query_past_a_limit_leaves_nothing_behind(store: Store) -> None:
    """It had begun to answer when it was ended; the next query has its own answer, and the store can be written to."""
    for limits in (QueryLimits(0.1, 1 << 28, 10), QueryLimits(10.0, 1 << 28, 10), QueryLimits(10.0, 1 << 24, 10**6)):
        with pytest.raises(LimitExceededError):
            store.query_limited("SELECT * FROM numbers(1000000000000) WHERE sipHash64(number) % 3 = 0", {}, limits)
        assert store.query("SELECT 'mine'") == [("mine",)]
    offset = next(_OFFSETS)
    store.insert("series", _points(offset, 1))
    assert _count(store, offset) == 1


def test_times_are_utc(store: Store) -> None:
    """Wherever the process or the server runs."""
    store.command("INSERT INTO folds VALUES ('port', 1900000020, 1)")
    rows = store.query("SELECT toUnixTimestamp(minute), toString(minute) FROM folds WHERE level = 'port'")
    assert rows == [(1_900_000_020, dt.datetime.fromtimestamp(1_900_000_020, dt.UTC).strftime("%F %T"))]


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT nothing_here FROM series", "SELECT * FROM no_such_table"])
def test_a_wrong_statement_is_the_callers_fault(store: Store, sql: str) -> None:
    """Not to be retried: an `InputError`, which is no `UnavailableError`."""
    with pytest.raises(InputError):
        store.query(sql)


def test_every_table_is_there_with_its_columns(store: Store) -> None:
    """Made when missing, in the order that the data dictionary says."""
    for table in TABLES:
        found = store.query(
            "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
            " ORDER BY position",
            {"table": table.name},
        )
        assert found == [(name, kind) for name, kind in table.columns]


def test_a_table_of_an_earlier_version_gets_the_columns_it_lacks(dsn: str, store: Store) -> None:
    """Opening the store again adds them; rows from before have the defaults."""
    offset = next(_OFFSETS)
    store.insert("series", _points(offset, 1))
    store.command("ALTER TABLE series DROP COLUMN value")
    with contextlib.closing(ClickHouseStore(dsn, KEEP_DAYS)) as again:
        again.insert("series", _points(offset, 1, 5.0))
        rows = again.query("SELECT value FROM series WHERE start_offset = {o:Int64} ORDER BY value", {"o": offset})
    assert rows == [(0.0,), (5.0,)]
    assert _count(store, offset) == 2


def test_a_retention_named_later_is_the_one_that_counts(dsn: str, store: Store) -> None:
    """A table made before keeps its rows as long as who opens it last says, and no shorter."""
    kept = "SELECT extract(engine_full, 'toIntervalDay\\((\\d+)\\)') FROM system.tables WHERE name = {name:String}"
    kept += " AND database = currentDatabase()"
    for keep_days, want in (({"quarantine": 12_345}, "12345"), ({}, "12345"), (KEEP_DAYS, "20000")):
        with contextlib.closing(ClickHouseStore(dsn, keep_days)):
            assert store.query(kept, {"name": "quarantine"}) == [(want,)]


def test_a_bucket_of_the_jobs_is_one_block_and_adds_up(store: Store) -> None:
    """All cells, maps and the ledger row of a bucket arrive whole, and merge by the catalogue's expressions."""
    sent = sent_heartbeats(5, sessions=4, minutes=6)
    outputs = [output for output in count_all(log_of(sent, random.Random(5))) if output.counts["aggregated"]]
    for output in outputs:
        store.insert("heartbeats", output.raw, f"raw-{output.start_offset}")
        store.insert("deltas", output.deltas, f"deltas-{output.start_offset}")
    parts = store.query("SELECT start_offset, uniqExact(_part) FROM deltas GROUP BY start_offset")
    assert len(parts) == len(outputs)
    merged = store.query_columns(
        f"SELECT {', '.join(merge_expressions())} FROM deltas WHERE `cube` = 'all'"
        " SETTINGS prefer_column_name_to_alias = 1"
    )
    cells = {cell: values for cell, values in cells_of(outputs).items() if cell[0] == "all"}
    for name in ("heartbeats", "n", "rebuffer_sxx", "av_sum_ms", "expected"):
        assert merged[name][0] == sum(values.get(name, 0) for values in cells.values())
    counted = store.query("SELECT count() FROM heartbeats WHERE row_kind = 'unique'")[0][0]
    assert counted == sum(output.counts["aggregated"] for output in outputs)


def test_threads_may_share_a_store(store: Store) -> None:
    """Inserts and queries from several threads at once all arrive."""
    offsets = [next(_OFFSETS) for _ in range(8)]
    failures: list[Exception] = []

    def work(offset: int) -> None:
        try:
            store.insert("series", _points(offset, 10), f"thread-{offset}")
            assert _count(store, offset) == 10
        except (AssertionError, InputError, UnavailableError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in offsets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_store_that_cannot_be_reached_is_unavailable() -> None:
    """The message says what and where, without the password."""
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9") as caught:
        ClickHouseStore("http://user:sesame@127.0.0.1:9/tocsin")
    assert "sesame" not in str(caught.value)


def test_a_closed_embedded_path_can_be_opened_again(tmp_path: Path) -> None:
    """By a child: one process has one path open at a time. What was stored is there, tokens included."""
    script = f"""
from tests.conformance.test_store_port import _count, _points
from tests.jobs_runner import KEEP_DAYS
from tocsin.adapters.store.clickhouse import ClickHouseStore
for n in (2, 3):
    store = ClickHouseStore("chdb://{tmp_path / "data"}", KEEP_DAYS)
    store.insert("series", _points(1, n), "once")
    print(_count(store, 1))
    store.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["2", "2"], done.stderr[-2_000:]
