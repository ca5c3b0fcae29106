"""The probe's loop: flagged looks first, then the background sample; every look that is claimed ends in a verdict.

A look is finished only after its verdict is stored and handed on, so a worker that is killed loses nothing: the claim
runs out and another takes the look, whose verdict has the same id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from server_probe.fetch import Fetcher
from server_probe.ladder import Ladder, LadderLimits
from server_probe.look import Evidence, Look, Verdict
from server_probe.ports import ATTEMPTS_MAX, QueuePort, VerdictStore
from server_probe.reading import Edges
from server_probe.registry import StreamRegistry
from server_probe.sampling import Sampler
from tocsin.model.errors import TocsinError

LEASE_S = 180.0
IDLE_S = 0.5
EDGES_MAX = 10_000

_log = structlog.get_logger(__name__)


class ProbeWorker:
    """One worker. `clock` gives epoch seconds; `on_verdict` is called once a verdict is stored, at least once each."""

    def __init__(
        self,
        registry: StreamRegistry,
        fetcher: Fetcher,
        *,
        clock: Callable[[], float],
        on_verdict: Callable[[Evidence], None],
        queue: QueuePort,
        store: VerdictStore,
        sampler: Sampler | None = None,
        limits: LadderLimits | None = None,
        name: str = "probe-0",
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._registry = registry
        self._fetcher = fetcher
        self._clock = clock
        self._on_verdict = on_verdict
        self._queue = queue
        self._store = store
        self._sampler = sampler
        self._limits = limits or LadderLimits()
        self._name = name
        self._cpu = cpu
        self._edges: Edges = {}

    def step(self) -> Verdict | None:
        """Take one look and give its verdict; None if nothing is waiting and no sample is due."""
        now_ts_s = self._clock()
        for look in self._queue.exhausted(now_ts_s):
            return self._hand_on(self._cannot(look, f"its worker died {ATTEMPTS_MAX} times while looking"))
        claimed = self._queue.claim(self._name, now_ts_s, LEASE_S)
        if claimed is not None:
            verdict = self._hand_on(self._examine(claimed, lambda: self._renew(claimed)))
            self._queue.finish(claimed.id, self._name)
            return verdict
        sampled = self._sampler.due(now_ts_s) if self._sampler is not None else None
        if sampled is None or self._sampler is None:
            return None
        evidence = self._examine(sampled, lambda: True)
        self._sampler.charge(evidence.verdict.cpu_s)
        return self._hand_on(evidence)

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set. An outage of the queue, the store or the receiver is logged and tried again."""
        while not stop.is_set():
            try:
                idle = self.step() is None
            except (TocsinError, OSError) as error:
                _log.warning("probe step failed", error=str(error))
                idle = True
            if idle:
                stop.wait(IDLE_S)

    def _renew(self, look: Look) -> bool:
        return self._queue.renew(look.id, self._name, self._clock(), LEASE_S)

    def _examine(self, look: Look, keep: Callable[[], bool]) -> Evidence:
        stream = self._registry.get(look.stream)
        if stream is None:
            return self._cannot(look, f"stream {look.stream!r} is not in the registry; add its manifest")
        if len(self._edges) > EDGES_MAX:
            self._edges.clear()
        try:
            with self._fetcher.session() as session:
                ladder = Ladder(look, stream, session, self._limits, keep, self._edges, cpu=self._cpu)
                return ladder.climb(self._clock())
        except Exception as error:  # noqa: BLE001 - bytes of strangers must not end the worker; logged, and in the verdict
            _log.exception("probe look failed", look=look.id, stream=look.stream)
            return self._cannot(look, f"{type(error).__name__}: {error}")

    def _cannot(self, look: Look, why: str) -> Evidence:
        return Evidence(
            Verdict(
                id=look.id,
                stream=look.stream,
                reason=look.reason,
                incident_id=look.incident_id,
                verdict="cannot tell",
                summary=f"could not be looked at: {why}",
                defects=(),
                looked_at=(),
                left_out=(why,),
                step="none",
                cpu_s=0.0,
                bytes=0,
                sandbox="not needed",
                made_ts_s=self._clock(),
            )
        )

    def _hand_on(self, evidence: Evidence) -> Verdict:
        self._store.save(evidence)
        self._on_verdict(evidence)
        return evidence.verdict
