"""The probe's ports over `tocsin.adapters.state.probe`: looks and verdicts that outlive the process."""

from __future__ import annotations

import msgspec

from server_probe.look import PRIORITY, Evidence, Look, Verdict
from server_probe.ports import ATTEMPTS_MAX, CAPACITY, VERDICTS_KEPT
from tocsin.adapters.state.probe import LookRow, ProbeRows


def _look(row: LookRow) -> Look:
    return msgspec.structs.replace(msgspec.json.decode(row.body, type=Look), attempt=row.attempt)


class SqlQueue:
    """`QueuePort` over rows."""

    def __init__(self, rows: ProbeRows, capacity: int = CAPACITY) -> None:
        self._rows = rows
        self._capacity = capacity

    def enqueue(self, look: Look) -> bool:
        """See `QueuePort`."""
        body = msgspec.json.encode(look)
        return self._rows.add_look(look.id, PRIORITY[look.reason], look.queued_ts_s, body, self._capacity)

    def claim(self, worker: str, now_ts_s: float, lease_s: float) -> Look | None:
        """See `QueuePort`."""
        row = self._rows.claim_look(worker, now_ts_s, lease_s, ATTEMPTS_MAX)
        return None if row is None else _look(row)

    def renew(self, look_id: str, worker: str, now_ts_s: float, lease_s: float) -> bool:
        """See `QueuePort`."""
        return self._rows.renew_look(look_id, worker, now_ts_s + lease_s)

    def finish(self, look_id: str, worker: str) -> bool:
        """See `QueuePort`."""
        return self._rows.drop_look(look_id, worker)

    def exhausted(self, now_ts_s: float) -> list[Look]:
        """See `QueuePort`."""
        return [_look(row) for row in self._rows.drop_exhausted(now_ts_s, ATTEMPTS_MAX)]

    def waiting(self) -> list[Look]:
        """See `QueuePort`."""
        return [_look(row) for row in self._rows.looks()]


class SqlVerdicts:
    """`VerdictStore` over rows."""

    def __init__(self, rows: ProbeRows, kept: int = VERDICTS_KEPT) -> None:
        self._rows = rows
        self._kept = kept

    def save(self, evidence: Evidence) -> None:
        """See `VerdictStore`."""
        verdict = evidence.verdict
        body = msgspec.json.encode(verdict)
        self._rows.put_verdict(verdict.id, verdict.stream, verdict.incident_id, body, evidence.frames, self._kept)

    def verdict(self, verdict_id: str) -> Verdict | None:
        """See `VerdictStore`."""
        body = self._rows.verdict(verdict_id)
        return None if body is None else msgspec.json.decode(body, type=Verdict)

    def recent(self, limit: int, stream: str = "", incident_id: str = "") -> list[Verdict]:
        """See `VerdictStore`."""
        return [msgspec.json.decode(body, type=Verdict) for body in self._rows.verdicts(limit, stream, incident_id)]

    def frame(self, verdict_id: str, number: int) -> bytes | None:
        """See `VerdictStore`."""
        return self._rows.frame(verdict_id, number)

    def judge(self, verdict_id: str, judged: str) -> bool:
        """See `VerdictStore`."""
        verdict = self.verdict(verdict_id)
        if verdict is None:
            return False
        self._rows.change_verdict(verdict_id, msgspec.json.encode(msgspec.structs.replace(verdict, judged=judged)))
        return True
