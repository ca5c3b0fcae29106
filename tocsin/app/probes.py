"""The probe role: flagged streams and the background sample are looked at; verdicts go to incidents and a series."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx
from fastapi import APIRouter

from alerting.engine import Flag
from alerting.incidents import Incident
from server_probe.api import router as probe_router
from server_probe.fetch import Fetcher, FetchPolicy, Origin
from server_probe.ladder import LadderLimits
from server_probe.look import Defect, Evidence, Look, TimeRange, Verdict
from server_probe.registry import StreamRegistry
from server_probe.sampling import Sampler
from server_probe.sql import SqlQueue, SqlVerdicts
from server_probe.worker import ProbeWorker
from tocsin.adapters.log.port import LogWriter, partition_of
from tocsin.adapters.state.probe import ProbeRows
from tocsin.adapters.store.port import Store
from tocsin.app.config import Config
from tocsin.app.loops import Loops
from tocsin.model import points
from tocsin.model.errors import ConfigError, InputError, UnavailableError
from tocsin.model.points import Point

DEFECTS = "probe.defects"
COMPLAINT_MS = 15 * 60_000
"""How far back heartbeats are read to see where in a stream its players complain."""
RANGE_S_MAX = 60.0
STREAMS_PER_FLAG_MAX = 5
ATTACH_TIMEOUT_S = 10.0
VERDICTS_LOOKED_AT = 10
ATTACH_EVERY_S = 1.0

_COMPLAINTS: Mapping[str, tuple[str, str]] = {
    "freeze": ("freeze_ms", "freeze_ms > 0"),
    "rebuffering": ("rebuffer_ms", "rebuffer_ms > 0"),
    "av-offset": ("av_absmax_ms", "av_absmax_ms > 90"),
    "dropped-frames": ("frames_dropped", "frames_dropped > 0"),
}
"""By rule: the field that players reported, and the condition that picks the heartbeats that complain."""


class Probes:
    """Everything that the probe runs in this process."""

    def __init__(
        self, config: Config, store: Store, writer: LogWriter, attach: Callable[[str, Mapping[str, Any]], object]
    ) -> None:
        self._now_ms = config.clock.now_ms
        self._store, self._writer, self._attach = store, writer, attach
        self._base_url = config.public_url or f"http://{config.host}:{config.port}"
        self.registry = read_streams(config)
        rows = ProbeRows(config.data / "probe.db")
        self.queue, self.verdicts = SqlQueue(rows), SqlVerdicts(rows)
        self._worker = ProbeWorker(
            self.registry,
            Fetcher(FetchPolicy(tuple(Origin.parse(origin) for origin in config.probe_origins))),
            clock=time.time,  # leases and the share of a core are real time, whatever clock the rest is given
            on_verdict=self._on_verdict,
            queue=self.queue,
            store=self.verdicts,
            limits=LadderLimits(window_s=config.probe_window_s),
            sampler=Sampler(
                self.registry,
                cpu_share=config.probe_share,
                seed=random.SystemRandom().getrandbits(32),
                new_id=lambda: uuid.uuid4().hex,
            ),
        )

    def start(self, loops: Loops) -> None:
        """Look until the loops stop."""
        loops.run("probe", lambda: self._worker.run(loops.stopping))

    def attach_sampled(self, open_incidents: Iterable[Incident]) -> None:
        """Put the newest confirmed verdict on each incident that `probe.defects` opened and that has none yet."""
        for incident in open_incidents:
            if incident.metric != DEFECTS or incident.verdicts or "stream" not in incident.cohort:
                continue
            recent = self.verdicts.recent(VERDICTS_LOOKED_AT, incident.cohort["stream"])
            found = next((verdict for verdict in recent if verdict.verdict == "confirmed"), None)
            if found is not None:
                self._attach(incident.id, self.described(found))

    def router(self) -> APIRouter:
        """Routes under /v1/probes."""
        return probe_router(self.queue, self.verdicts, self.registry, clock=time.time)

    def on_flag(self, flag: Flag) -> None:
        """Queue a look at each stream that an incident names; raises `UnavailableError` where the queue is full."""
        streams = flag.streams or self._streams_of(flag.cohort)
        for stream in streams[:STREAMS_PER_FLAG_MAX]:
            if self.registry.get(stream) is None:
                continue
            complaint, condition = _COMPLAINTS.get(flag.rule, ("", ""))
            look = Look(
                id=f"{flag.incident_id}-{stream}",
                stream=stream,
                reason="flagged",
                queued_ts_s=time.time(),
                incident_id=flag.incident_id,
                ranges=self._ranges(stream, condition),
                complaints=(complaint,) if complaint else (),
            )
            if not self.queue.enqueue(look):
                raise UnavailableError(f"queueing a look at stream {stream}: the queue is full; it is tried again")

    def _streams_of(self, cohort: Mapping[str, str]) -> tuple[str, ...]:
        title = cohort.get("title")
        if title is None:
            return ()
        rows = self._store.query(
            "SELECT stream FROM heartbeats WHERE title = {title:String} AND append_ms >= {since:Int64}"
            " AND stream != '' GROUP BY stream ORDER BY count() DESC",
            {"title": title, "since": self._now_ms() - COMPLAINT_MS},
        )
        return tuple(str(stream) for (stream,) in rows)

    def _ranges(self, stream: str, condition: str) -> tuple[TimeRange, ...]:
        """Where in the stream its players complain: from the playhead of the complaining heartbeats."""
        if not condition:
            return ()
        ((n, low_ms, high_ms),) = self._store.query(
            "SELECT count(), quantileExact(0.1)(playhead_ms - interval_ms), quantileExact(0.9)(playhead_ms)"
            " FROM heartbeats WHERE stream = {stream:String} AND append_ms >= {since:Int64}"
            f" AND row_kind = 'unique' AND {condition}",
            {"stream": stream, "since": self._now_ms() - COMPLAINT_MS},
        )
        start_s, end_s = max(float(low_ms) / 1000, 0.0), float(high_ms) / 1000
        if not n or not 0 < end_s - start_s <= RANGE_S_MAX:
            return ()  # complaints all over the stream name no place in it
        return (TimeRange(start_s, end_s),)

    def _on_verdict(self, evidence: Evidence) -> None:
        verdict = evidence.verdict
        confirmed = [defect for defect in verdict.defects if defect.verdict == "confirmed"]
        now_ms = self._now_ms()
        counted = [
            Point(DEFECTS, {"stream": verdict.stream, "detector": detector}, now_ms, float(count), "gauge")
            for detector, count in _by_detector(confirmed).items()
        ]
        if counted:
            payload = points.encode(points.batch(counted))
            self._writer.append([(partition_of(verdict.stream, self._writer.partitions), payload)])
        if verdict.incident_id:
            try:
                self._attach(verdict.incident_id, self.described(verdict))
            except InputError:
                return  # the incident has been deleted meanwhile; the verdict itself is stored

    def described(self, verdict: Verdict) -> dict[str, Any]:
        """A verdict as a page and the dashboard show it."""
        worst = next((d for d in verdict.defects if d.verdict == "confirmed"), next(iter(verdict.defects), None))
        frame = worst.frame if worst is not None else -1
        return {
            "id": verdict.id,
            "stream": verdict.stream,
            "reason": verdict.reason,
            "verdict": verdict.verdict,
            "detector": worst.detector if worst is not None else "none",
            "origin": worst.source if worst is not None else "unknown",
            "text": verdict.summary,
            "cpu_s": verdict.cpu_s,
            "at_ms": self._now_ms(),
            "frame_url": f"{self._base_url}/v1/probes/{verdict.id}/frame.png?number={frame}" if frame >= 0 else "",
        }


def remote_verdicts(alerting_url: str, token: str = "") -> Callable[[str, Mapping[str, Any]], object]:
    """Attach verdicts to incidents that another process keeps, over its API; `token` is the service's own."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    def attach(incident_id: str, verdict: Mapping[str, Any]) -> None:
        url = f"{alerting_url.rstrip('/')}/v1/incidents/{incident_id}/verdicts"
        try:
            answer = httpx.post(url, json=dict(verdict), headers=headers, timeout=ATTACH_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise UnavailableError(f"attaching a verdict at {url}: {error}; it is tried again") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise InputError(f"attaching a verdict at {url}: no such incident")
        if not answer.is_success:
            raise UnavailableError(f"attaching a verdict at {url}: HTTP {answer.status_code}; it is tried again")

    return attach


def _by_detector(defects: list[Defect]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for defect in defects:
        counts[defect.detector] = counts.get(defect.detector, 0) + 1
    return counts


def read_streams(config: Config) -> StreamRegistry:
    """The configured list of streams; raises `ConfigError` where it cannot be used."""
    if config.streams is None:
        return StreamRegistry()
    try:
        return StreamRegistry.from_csv(config.streams.read_text())
    except OSError as error:
        raise ConfigError(f"reading the stream list {config.streams}: {error}") from error
