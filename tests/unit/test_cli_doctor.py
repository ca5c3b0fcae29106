"""`tocsin doctor`: what keeps Tocsin from working is BAD and fails the command, as a ledger does that is open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi import FastAPI

from tests import cli_support
from tocsin.adapters.log.local import LocalLog
from tocsin.adapters.store.port import Parameters
from tocsin.app.doctor import SETTLE_MS, ledger_report, stopped_report
from tocsin.model.ledger import LedgerRow, report
from tocsin.model.tables import LEDGER_COLUMNS

NOW_MS = 1_790_000_000_000
KEEP_DAYS = 14


def examined(folder: Path, **environment: str) -> tuple[int, dict[str, Any]]:
    """Exit status and findings of `tocsin doctor --json` in `folder`, on a free port unless told otherwise."""
    keys = {"TOCSIN_PORT": "0", **environment}
    done = cli_support.run("doctor", "--json", cwd=folder, extra=keys)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_fresh_folder_is_well(tmp_path: Path) -> None:
    """Nothing is there yet, nothing is made, and nothing is wrong."""
    status, found = examined(tmp_path)
    assert status == 0
    assert {finding["state"] for finding in found.values()} <= {"ok", "note"}
    assert "made at the first start" in found["log"]["text"]
    assert list(tmp_path.iterdir()) == []


def test_everything_that_is_wrong_is_bad(tmp_path: Path) -> None:
    """A store and neighbours that are away, unusable rules and a missing list are each named, with the key to turn."""
    (tmp_path / "rules.yaml").write_text("- {name: a, metric: qoe.sps, min_volum: 3}")
    status, found = examined(
        tmp_path,
        TOCSIN_STORE=cli_support.NOBODY.replace("//", "//tocsin:secret@") + "/tocsin",
        TOCSIN_RULES="rules.yaml",
        TOCSIN_STREAMS="none.csv",
        TOCSIN_ALERTMANAGER_URL=cli_support.NOBODY,
    )
    assert status == 1
    bad = {name: finding["text"] for name, finding in found.items() if finding["state"] == "bad"}
    assert set(bad) == {"store", "rules", "streams", "alertmanager"}
    assert "min_volume" in bad["rules"]
    assert "secret" not in json.dumps(found)


def test_a_log_of_another_size_is_bad(tmp_path: Path) -> None:
    """The log's partitions are fixed when it is made; a configuration that says otherwise cannot start."""
    LocalLog(tmp_path / ".tocsin" / "log.db", lambda: NOW_MS, 2).close()
    status, found = examined(tmp_path, TOCSIN_PARTITIONS="3")
    assert status == 1
    assert "2 partitions, not 3" in found["log"]["text"]
    assert examined(tmp_path, TOCSIN_PARTITIONS="2")[1]["log"]["state"] == "ok"


def test_a_taken_port_and_an_unusable_folder_are_bad(tmp_path: Path) -> None:
    """Whoever listens there is no Tocsin; a file is no data folder."""
    file = tmp_path / "file"
    file.touch()
    with cli_support.serving(FastAPI()) as other:
        port = other.rpartition(":")[2]
        status, found = examined(tmp_path, TOCSIN_PORT=port, TOCSIN_DATA=str(file))
    assert status == 1
    assert found[f"port {port}"]["state"] == found["data"]["state"] == "bad"
    assert "in use" in found[f"port {port}"]["text"]


def test_a_port_that_a_tocsin_has_is_well(tmp_path: Path) -> None:
    """Asking while Tocsin runs is no fault."""
    app = FastAPI()
    app.get("/metrics")(lambda: "tocsin_core_store_up 1")
    with cli_support.serving(app) as url:
        port = url.rpartition(":")[2]
        assert examined(tmp_path, TOCSIN_PORT=port)[1][f"port {port}"]["text"].startswith("a Tocsin answers")


@pytest.mark.parametrize(("ends", "status"), [([(0, 4), (4, 9)], 0), ([(0, 4), (6, 9)], 1)])
def test_the_proof_of_a_running_tocsin_decides_the_status(
    ends: list[tuple[int, int]], status: int, tmp_path: Path
) -> None:
    """A ledger that closes is 0; one with a gap is 1, and the gap is printed."""
    rows = [LedgerRow(0, start, end, NOW_MS, dict.fromkeys(LEDGER_COLUMNS, 0)) for start, end in ends]
    proof = report(rows, {0: (0, 9)}).as_dict()
    app = FastAPI()
    app.get("/v1/ledger")(lambda: proof)
    with cli_support.serving(app) as url:
        shown = cli_support.run("doctor", "--ledger", "--server", url, cwd=tmp_path)
        raw = cli_support.run("doctor", "--ledger", "--server", url, "--json", cwd=tmp_path)
    assert shown.returncode == raw.returncode == status
    assert json.loads(raw.stdout) == proof
    assert ("offsets [4, 6) are in no bucket" in shown.stdout) == bool(status)


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    """There is nothing to prove: status 2, and nothing is made."""
    done = cli_support.run("doctor", "--ledger", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no log.db in it" in done.stderr
    assert list(tmp_path.iterdir()) == []


class LedgerStore:
    """A store that has these buckets of partition 0, and nothing raw."""

    def __init__(self, buckets: Sequence[tuple[int, int]], raw: Sequence[tuple[str, int]] = ()) -> None:
        self._rows = [(0, start, end, NOW_MS, *([0] * len(LEDGER_COLUMNS))) for start, end in buckets]
        self._raw = list(raw)

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Not asked for."""
        raise NotImplementedError

    def query(self, sql: str, parameters: Parameters | None = None) -> list[tuple[Any, ...]]:
        """Buckets, or raw rows by kind."""
        return list(self._raw) if "FROM heartbeats" in sql else list(self._rows)

    def query_columns(self, sql: str, parameters: Parameters | None = None) -> dict[str, Sequence[Any]]:
        """Not asked for."""
        raise NotImplementedError

    def query_arrow(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """Not asked for."""
        raise NotImplementedError

    def command(self, sql: str, parameters: Parameters | None = None) -> None:
        """Not asked for."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def log(tmp_path: Path) -> LocalLog:
    """Nine records, all old."""
    made = LocalLog(tmp_path / "log.db", lambda: NOW_MS - 2 * SETTLE_MS)
    made.append([(0, b"record")] * 9)
    return made


def test_what_the_next_start_will_count_is_not_lost(log: LocalLog) -> None:
    """Where Tocsin is stopped, the log behind the last bucket waits; where it runs, it should have been counted."""
    store = LedgerStore([(0, 4), (4, 6)])
    proof, waiting = stopped_report(store, log, NOW_MS, KEEP_DAYS)
    assert (proof.balanced, waiting) == (True, 3)
    assert ledger_report(store, log, NOW_MS).lost == 3


def test_a_log_that_was_never_counted_waits(log: LocalLog) -> None:
    """Without a bucket everything waits."""
    proof, waiting = stopped_report(LedgerStore([]), log, NOW_MS, KEEP_DAYS)
    assert (proof.balanced, waiting) == (True, 9)


def test_a_hole_before_the_last_bucket_is_lost(log: LocalLog) -> None:
    """No start would go back to it."""
    proof, waiting = stopped_report(LedgerStore([(0, 4), (6, 9)]), log, NOW_MS, KEEP_DAYS)
    assert (proof.lost, waiting) == (2, 0)


def test_raw_rows_that_no_bucket_counts_are_told(log: LocalLog) -> None:
    """They are held against the ledger while all of them are kept, and not afterwards."""
    store = LedgerStore([(0, 9)], [("unique", 5)])
    assert not stopped_report(store, log, NOW_MS, KEEP_DAYS)[0].balanced
    assert stopped_report(store, log, NOW_MS + KEEP_DAYS * 86_400_000, KEEP_DAYS)[0].balanced
