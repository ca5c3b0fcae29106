"""The two ports of the probe: the queue of looks and the store of verdicts. In memory here, in SQL in `sql.py`.

Laws of the queue, asserted by one suite over both adapters:

* `enqueue` is idempotent by the look's id; beyond `capacity` waiting looks it refuses (False), and the caller says so.
* `claim` gives the waiting look of the smallest priority, the oldest first, to one worker, for `lease_s`; a look whose
  lease has run out is waiting again, with its `attempt` one higher. After `ATTEMPTS_MAX` claims it is never given again
  but handed to `exhausted`, so that a look that kills its workers ends in a verdict.
* `renew` and `finish` are True only for the worker that holds the claim; what a lost claim finishes is thrown away.
"""

from __future__ import annotations

from typing import Protocol

from server_probe.look import Evidence, Look, Verdict

ATTEMPTS_MAX = 3
CAPACITY = 1_000
VERDICTS_KEPT = 5_000


class QueuePort(Protocol):
    """See the module's laws."""

    def enqueue(self, look: Look) -> bool:
        """Add a look; True if it waits now or is known already."""

    def claim(self, worker: str, now_ts_s: float, lease_s: float) -> Look | None:
        """Take the next look, or None."""

    def renew(self, look_id: str, worker: str, now_ts_s: float, lease_s: float) -> bool:
        """Keep a claim for another `lease_s`."""

    def finish(self, look_id: str, worker: str) -> bool:
        """Give a claim back as done."""

    def exhausted(self, now_ts_s: float) -> list[Look]:
        """Take out the looks that lost their worker `ATTEMPTS_MAX` times."""

    def waiting(self) -> list[Look]:
        """The looks that wait or are being looked at, in the order of claiming."""


class VerdictStore(Protocol):
    """Keeps the last `VERDICTS_KEPT` verdicts with their pictures; saving the same verdict id again replaces it."""

    def save(self, evidence: Evidence) -> None:
        """Keep a verdict and its pictures."""

    def verdict(self, verdict_id: str) -> Verdict | None:
        """One verdict."""

    def recent(self, limit: int, stream: str = "", incident_id: str = "") -> list[Verdict]:
        """The newest verdicts, newest first; of one stream or incident if given."""

    def frame(self, verdict_id: str, number: int) -> bytes | None:
        """One picture, PNG."""

    def judge(self, verdict_id: str, judged: str) -> bool:
        """Keep what a person said ("right" or "wrong"); False if there is no such verdict."""
