"""The jobs of the embedded pair: the runner over all partitions, folds, and the log's retention."""

from __future__ import annotations

from typing import Any

from streaming_jobs.embedded import EmbeddedRunner, trimmer
from streaming_jobs.fold import Folder
from streaming_jobs.steps.settings import CountingSettings
from tocsin.adapters.log.local import LocalLog
from tocsin.adapters.log.port import LogWriter
from tocsin.adapters.store.port import Store
from tocsin.app.config import Config
from tocsin.app.logs import open_reader
from tocsin.app.loops import Loops, each_s

FOLD_EVERY_S = 2.0
LOG_KEPT_MS = 48 * 3_600_000
TRIM_EVERY_MS = 600_000


class Jobs:
    """Counts the log into the store."""

    def __init__(self, config: Config, store: Store, writer: LogWriter) -> None:
        settings = counting(config)
        reader = open_reader(config)
        upkeep = []
        if isinstance(reader, LocalLog):
            trim = trimmer(reader.trim, reader, lambda: self._runner.status(), LOG_KEPT_MS, config.clock.now_ms)
            upkeep.append((TRIM_EVERY_MS, trim))
        self._runner = EmbeddedRunner(
            reader, writer, store, config.declared_cubes, settings, config.clock.now_ms, upkeep
        )
        self._folder = Folder(store, config.partitions, settings)
        self._close = reader.close

    def start(self, loops: Loops) -> None:
        """Count in one thread, fold in another: a long fold delays no bucket."""
        loops.run("jobs", lambda: self._runner.run(loops.stopping))
        loops.every("fold", self._folder, each_s(FOLD_EVERY_S))

    def close(self) -> None:
        """Release the reader."""
        self._close()

    def status(self) -> dict[str, Any]:
        """For /v1/status."""
        found = self._runner.status()
        return {
            "lag_messages": found.lag_messages,
            "lag_ms": found.lag_ms,
            "watermark_ms": found.watermark_ms,
            "committed_buckets": found.committed,
            "replayed_buckets": found.replayed,
            "repaired_inserts": found.repaired,
            "error": found.error,
        }

    def lag_ms(self) -> int:
        """How far counting is behind the clock while records wait."""
        return self._runner.status().lag_ms


def counting(config: Config) -> CountingSettings:
    """What counting depends on besides the log."""
    return CountingSettings(lateness_ms=int(config.lateness_s * 1000), timeout_ms=int(config.session_timeout_s * 1000))
