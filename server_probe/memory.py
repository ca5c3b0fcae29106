"""Queue and verdicts in memory: for tests, for `tocsin probe`, and wherever a restart may forget."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import msgspec

from server_probe.look import PRIORITY, Evidence, Look, Verdict
from server_probe.ports import ATTEMPTS_MAX, CAPACITY, VERDICTS_KEPT


@dataclass
class _Entry:
    look: Look
    worker: str = ""
    leased_until_ts_s: float = 0.0


class MemoryQueue:
    """`QueuePort` in memory; safe between threads."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def enqueue(self, look: Look) -> bool:
        """See `QueuePort`."""
        with self._lock:
            if look.id in self._entries:
                return True
            if len(self._entries) >= self._capacity:
                return False
            self._entries[look.id] = _Entry(look)
            return True

    def _in_order(self) -> list[_Entry]:
        return sorted(self._entries.values(), key=lambda entry: (PRIORITY[entry.look.reason], entry.look.queued_ts_s))

    def claim(self, worker: str, now_ts_s: float, lease_s: float) -> Look | None:
        """See `QueuePort`."""
        with self._lock:
            for entry in self._in_order():
                free = not entry.worker or entry.leased_until_ts_s <= now_ts_s
                if free and entry.look.attempt < ATTEMPTS_MAX:
                    entry.look = msgspec.structs.replace(entry.look, attempt=entry.look.attempt + 1)
                    entry.worker = worker
                    entry.leased_until_ts_s = now_ts_s + lease_s
                    return entry.look
            return None

    def renew(self, look_id: str, worker: str, now_ts_s: float, lease_s: float) -> bool:
        """See `QueuePort`."""
        with self._lock:
            entry = self._entries.get(look_id)
            if entry is None or entry.worker != worker:
                return False
            entry.leased_until_ts_s = now_ts_s + lease_s
            return True

    def finish(self, look_id: str, worker: str) -> bool:
        """See `QueuePort`."""
        with self._lock:
            entry = self._entries.get(look_id)
            if entry is None or entry.worker != worker:
                return False
            del self._entries[look_id]
            return True

    def exhausted(self, now_ts_s: float) -> list[Look]:
        """See `QueuePort`."""
        with self._lock:
            looks = [
                entry.look
                for entry in self._in_order()
                if entry.look.attempt >= ATTEMPTS_MAX and entry.leased_until_ts_s <= now_ts_s
            ]
            for look in looks:
                del self._entries[look.id]
            return looks

    def waiting(self) -> list[Look]:
        """See `QueuePort`."""
        with self._lock:
            return [entry.look for entry in self._in_order()]


class MemoryVerdicts:
    """`VerdictStore` in memory; safe between threads."""

    def __init__(self, kept: int = VERDICTS_KEPT) -> None:
        self._kept = kept
        self._evidence: dict[str, Evidence] = {}
        self._lock = threading.Lock()

    def save(self, evidence: Evidence) -> None:
        """See `VerdictStore`."""
        with self._lock:
            self._evidence.pop(evidence.verdict.id, None)
            self._evidence[evidence.verdict.id] = evidence
            while len(self._evidence) > self._kept:
                del self._evidence[next(iter(self._evidence))]

    def verdict(self, verdict_id: str) -> Verdict | None:
        """See `VerdictStore`."""
        with self._lock:
            found = self._evidence.get(verdict_id)
            return None if found is None else found.verdict

    def recent(self, limit: int, stream: str = "", incident_id: str = "") -> list[Verdict]:
        """See `VerdictStore`."""
        with self._lock:
            verdicts = [evidence.verdict for evidence in reversed(self._evidence.values())]
        return [
            verdict
            for verdict in verdicts
            if stream in ("", verdict.stream) and incident_id in ("", verdict.incident_id)
        ][:limit]

    def frame(self, verdict_id: str, number: int) -> bytes | None:
        """See `VerdictStore`."""
        with self._lock:
            found = self._evidence.get(verdict_id)
        if found is None or not 0 <= number < len(found.frames):
            return None
        return found.frames[number]

    def judge(self, verdict_id: str, judged: str) -> bool:
        """See `VerdictStore`."""
        with self._lock:
            found = self._evidence.get(verdict_id)
            if found is None:
                return False
            verdict = msgspec.structs.replace(found.verdict, judged=judged)
            self._evidence[verdict.id] = Evidence(verdict, found.frames)
            return True
