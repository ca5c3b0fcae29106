"""A folded playback is folded again when one of its heartbeats comes after its end, on a real ClickHouse server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streaming_jobs.fold import Folder
from tests.e2e import audience as audiences
from tests.e2e import line
from tests.e2e.line import FakeClock
from tocsin.adapters.log.local import LocalLog
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.app.dev.clickhouse import ClickHouseServer
from tocsin.model.records import TICK

BASE_MS = 1_790_000_000_000


@pytest.mark.clickhouse
def test_a_heartbeat_after_the_end_is_in_the_playback(clickhouse_server: ClickHouseServer, tmp_path: Path) -> None:
    """The first fold has all heartbeats but one; after that one has come, a second fold has it too."""
    dsn = clickhouse_server.status().dsn.rpartition("/")[0]
    ClickHouseStore(f"{dsn}/tocsin").command("CREATE DATABASE IF NOT EXISTS late_session")
    store = ClickHouseStore(f"{dsn}/late_session", line.KEEP_DAYS)
    audience = audiences.make(3, BASE_MS, sessions=1)
    whole = np.flatnonzero(audience.rows["fate"] == "aggregated")
    clock = FakeClock(BASE_MS)
    log = LocalLog(tmp_path / "log.db", clock.now_ms, 1)
    folder = Folder(store, 1, line.SETTINGS)

    def count_and_fold(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[tuple[int, int]]:
        log.append(audience.messages([rows], 1))
        for _ in range(3):
            clock.ms += 60_000
            log.append([(0, TICK)])
        line.count_partition(line.new_job(0, store, clock.ms), log, 0)
        folder()
        found = store.query("SELECT heartbeats, playing_ms FROM sessions FINAL WHERE startsWith(session_id, 's3')")
        return [(int(heartbeats), int(playing_ms)) for heartbeats, playing_ms in found]

    playing_ms = audience.rows["playing_ms"].to_numpy()[whole]
    assert len(whole) > 3
    assert count_and_fold(np.delete(whole, 1)) == [(len(whole) - 1, int(playing_ms.sum() - playing_ms[1]))]
    assert count_and_fold(whole[1:2]) == [(len(whole), int(playing_ms.sum()))]
    store.close()
    log.close()
