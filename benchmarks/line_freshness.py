"""From heartbeat to a query that shows it: marked heartbeats, two a second, and a graph asked until it has each.

A mark is one heartbeat of a stream of its own. The time is from before the POST to after the answer of
`/api/v1/graph` that has a value for that stream; answers come every half second, which is in the figure.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx
from line_load import INTERVAL_MS, now_ms

from tocsin.model.errors import UnavailableError

PREFIX = "bench-fresh-"
ASK_EVERY_S = 0.5
MARK_EVERY_S = 0.5
WAIT_S = 60.0
QUERY = f"name,qoe.concurrent,:eq,stream,{PREFIX},:re,:and,:sum,(,stream,),:by"
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Freshness:
    """Seconds from heartbeat to answer, sorted; `unseen`: marks that no answer showed within a minute."""

    seconds: list[float]
    unseen: int

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return {"marks": len(self.seconds) + self.unseen, "unseen": self.unseen, "p50": self._at(0.5),
                "p95": self._at(0.95), "max": self._at(1.0)}  # fmt: skip

    def _at(self, share: float) -> float | None:
        """The value that `share` of all marks do not exceed; None where too many were never seen."""
        rank = max(0, int(share * (len(self.seconds) + self.unseen) + 0.999_999) - 1)
        return round(self.seconds[rank], 2) if rank < len(self.seconds) else None


class Marks:
    """Sends and asks in a thread of its own; `gateway` takes heartbeats, `query` answers (base URLs)."""

    def __init__(self, gateway: str, query: str, marks: int) -> None:
        self._gateway = gateway
        self._query = query
        self._wanted = marks
        self._sent_s: dict[str, float] = {}
        self._seen_s: dict[str, float] = {}
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._guarded, name="marks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def result(self) -> Freshness:
        """Wait until every mark is seen, or for a minute after the last."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        seconds = sorted(seen - self._sent_s[stream] for stream, seen in self._seen_s.items())
        return Freshness(seconds, len(self._sent_s) - len(seconds))

    def _guarded(self) -> None:
        try:
            with httpx.Client(timeout=30.0) as client:
                self._run(client)
        except (httpx.HTTPError, UnavailableError) as error:
            self._error = error

    def _run(self, client: httpx.Client) -> None:
        next_mark_s = next_ask_s = time.monotonic()
        last_s = next_mark_s + self._wanted * MARK_EVERY_S + WAIT_S
        while len(self._seen_s) < self._wanted and time.monotonic() < last_s:
            now_s = time.monotonic()
            if len(self._sent_s) < self._wanted and now_s >= next_mark_s:
                next_mark_s += MARK_EVERY_S
                self._mark(client, len(self._sent_s))
            if self._sent_s and now_s >= next_ask_s:
                next_ask_s = now_s + ASK_EVERY_S
                self._ask(client)
            time.sleep(max(0.0, min(next_mark_s, next_ask_s) - time.monotonic()))

    def _mark(self, client: httpx.Client, number: int) -> None:
        stream, at_ms = f"{PREFIX}{number}", now_ms()
        event = {"session_id": stream, "seq": 0, "ts_ms": at_ms, "interval_ms": INTERVAL_MS, "reason": "interval",
                 "state": "playing", "playhead_ms": 0, "playing_ms": INTERVAL_MS - 100}  # fmt: skip
        envelope = {"schema": "tocsin.heartbeat/1", "sent_ts_ms": at_ms, "sdk": {"name": "bench", "version": "1"},
                    "sample_rate": 1, "tags": {"stream.id": stream}, "events": [event]}  # fmt: skip
        self._sent_s[stream] = time.monotonic()
        answer = client.post(f"{self._gateway}/v1/heartbeats", content=json.dumps(envelope))
        if answer.status_code != httpx.codes.OK or not answer.json().get("accepted"):
            raise UnavailableError(f"sending a mark: HTTP {answer.status_code}: {answer.text[:300]}")

    def _ask(self, client: httpx.Client) -> None:
        end_ms = (now_ms() // _MINUTE_MS + 2) * _MINUTE_MS
        asked = {"q": QUERY, "s": "e-10m", "e": str(end_ms), "step": "1m", "format": "json"}
        answer = client.get(f"{self._query}/api/v1/graph", params=asked)
        if answer.status_code != httpx.codes.OK:
            raise UnavailableError(f"asking the graph: HTTP {answer.status_code}: {answer.text[:300]}")
        shown_s, body = time.monotonic(), answer.json()
        for at, tags in enumerate(body["metrics"]):
            stream = tags.get("stream", "")
            if stream in self._sent_s and any(row[at] not in (None, "NaN", 0.0) for row in body["values"]):
                self._seen_s.setdefault(stream, shown_s)
