"""The outbox: sends what the desk has queued, at least once, in order for each incident and receiver.

A message is `sent` only after a 2xx; a process killed in between sends it again with the same key. Failures wait
1 s, 2 s, 4 s … up to an hour, with jitter, and after a day (or five refusals with 4xx) the message is `dead`: kept,
with its error, and shown by GET /v1/incidents/ID. Level-triggered pagers get the present state every minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from alerting.desk import OPEN_STATES, Receiver
from alerting.page import from_doc, page
from alerting.pagers import Pager, PagerRequest
from tocsin.adapters.state.port import DeliveryRow, State

BACKOFF_MS = 1_000
BACKOFF_MAX_MS = 3_600_000
GIVE_UP_MS = 86_400_000
REFUSALS_MAX = 5
TIMEOUT_S = 10.0
REFRESH_MS = 60_000
RESOLVED_FOR_MS = 300_000
RETRIED_STATUSES = (408, 425, 429)
DEAD_MAN = "tocsin-alive"


@dataclass(slots=True)
class Round:
    """What one round of sending did."""

    sent: int = 0
    failed: int = 0
    dead: int = 0
    errors: list[str] = field(default_factory=list)


class Outbox:
    """Sends for `pagers`; `jitter` gives numbers in [0, 1). One outbox sends at a time; several lose nothing."""

    def __init__(
        self, state: State, pagers: Sequence[Pager], clock: Callable[[], int], client: httpx.Client,
        jitter: Callable[[], float], base_url: str = "", dead_man: bool = True,
    ) -> None:  # fmt: skip
        self._state, self._clock, self._client, self._jitter = state, clock, client, jitter
        self._pagers = {pager.name: pager for pager in pagers}
        self._base_url = base_url
        self._dead_man = dead_man
        self._refreshed_ms = -(2**62)
        self.last_error: dict[str, str] = {}

    def run_once(self) -> Round:
        """Send what is due, and refresh level-triggered pagers where a minute has passed."""
        done = Round()
        now = self._clock()
        with self._state.transaction() as tx:
            due = tx.due_deliveries(now)
            waiting = {(row.incident_id, row.receiver): row for row in tx.deliveries(state="queued")}
        blocked: set[tuple[str, str]] = {
            lane for lane, oldest in waiting.items() if oldest.next_ms > now
        }  # the newest comes first, so what remains is the oldest of each lane
        for row in due:
            lane = (row.incident_id, row.receiver)
            if lane in blocked:
                continue
            if not self._deliver(row, done):
                blocked.add(lane)
        if now - self._refreshed_ms >= REFRESH_MS:
            self._refreshed_ms = now
            self._refresh(now, done)
        return done

    def _deliver(self, row: DeliveryRow, done: Round) -> bool:
        pager = self._pagers.get(row.receiver)
        now = self._clock()
        if pager is None:
            self._put(replace(row, state="dead", error=f"receiver {row.receiver} is no longer configured"))
            done.dead += 1
            return True
        error, refused = self._send(pager.request(row.payload, row.key, now))
        attempts = row.attempts + 1
        if not error:
            self._put(replace(row, state="sent", attempts=attempts, error=""))
            self.last_error.pop(row.receiver, None)
            done.sent += 1
            return True
        self.last_error[row.receiver] = error
        done.errors.append(f"{row.receiver}: {error}")
        if now - row.created_ms >= GIVE_UP_MS or (refused and attempts >= REFUSALS_MAX):
            self._put(replace(row, state="dead", attempts=attempts, error=error))
            done.dead += 1
            return True
        self._put(replace(row, attempts=attempts, error=error, next_ms=now + self._wait_ms(attempts)))
        done.failed += 1
        return False

    def _wait_ms(self, attempts: int) -> int:
        full = min(BACKOFF_MS * 2 ** min(attempts - 1, 30), BACKOFF_MAX_MS)
        return int(full * (0.5 + 0.5 * self._jitter()))

    def _send(self, request: PagerRequest) -> tuple[str, bool]:
        """Error text ("" for a 2xx) and whether the receiver refused it for good (4xx)."""
        try:
            response = self._client.request(
                request.method, request.url, content=request.body, headers=dict(request.headers), timeout=TIMEOUT_S,
                follow_redirects=False,
            )  # fmt: skip
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"[:500], False
        if response.is_success:
            return "", False
        refused = 400 <= response.status_code < 500 and response.status_code not in RETRIED_STATUSES
        return f"HTTP {response.status_code}: {response.text[:200]}", refused

    def _put(self, row: DeliveryRow) -> None:
        with self._state.transaction() as tx:
            tx.put_delivery(row)

    def _refresh(self, now: int, done: Round) -> None:
        """Tell level-triggered pagers all open incidents, those closed in the last minutes, and that we are alive."""
        pagers = [pager for pager in self._pagers.values() if pager.level_triggered]
        if not pagers:
            return
        with self._state.transaction() as tx:
            rows = tx.incidents(OPEN_STATES) + tx.incidents(("closed",), now - RESOLVED_FOR_MS)
        incidents = [from_doc(row.doc) for row in rows]
        for pager in pagers:
            pages = [page(i, "refresh", self._base_url, now) for i in incidents if not (i.silenced or i.inhibited)]
            if self._dead_man:
                pages.append(alive_page(now))
            for item in pages:
                error, _ = self._send(pager.request(item, f"{item['incident']}:{item['revision']}", now))
                if error:
                    self.last_error[pager.name] = error
                    done.failed += 1
                    done.errors.append(f"{pager.name}: {error}")
                    break
                self.last_error.pop(pager.name, None)
                done.sent += 1

    def test(self) -> dict[str, str]:
        """`tocsin page --test`: one page to every receiver now; answers its error by receiver, "" where it arrived."""
        now = self._clock()
        sample = {**alive_page(now), "change": "test", "rule": "tocsin-test", "severity": "page"}
        sample["title"], sample["text"] = "A test page from Tocsin", "Nothing is wrong: somebody tries the bell."
        found = {}
        for name, pager in self._pagers.items():
            found[name] = self._send(pager.request(sample, f"test:{now}:{name}", now))[0]
        return found


def alive_page(now_ms: int) -> dict[str, Any]:
    """The always-firing alert: an outside receiver pages when it stops coming (a dead man's switch)."""
    return {
        "schema": "tocsin.page/1", "change": "alive", "incident": DEAD_MAN, "revision": 0, "state": "firing",
        "severity": "info", "rule": DEAD_MAN, "title": "Tocsin is alive", "text": "Pages when this alert stops coming.",
        "opened_ms": now_ms, "closed_ms": None, "cohort": {}, "labels": {}, "annotations": {}, "runbook": "",
        "links": {}, "at_ms": now_ms,
    }  # fmt: skip


def receivers(configs: Sequence[Mapping[str, Any]]) -> list[Receiver]:
    """Receivers of pager configurations, with the severities that each takes (all by default)."""
    return [
        Receiver(str(config["name"]), tuple(config["severities"]))
        if "severities" in config
        else Receiver(str(config["name"]))
        for config in configs
    ]
