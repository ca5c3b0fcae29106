"""`?explain=1`: what each heartbeat of a request became, and why. It stores as well, unless `dry=1` is given too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingest import tagging
from ingest.batcher import LAW_FIELDS, Submission
from ingest.columns import build
from ingest.formats.heartbeat import Refusal
from ingest.stats import Stats
from tocsin.adapters.log.port import partition_of
from tocsin.model.heartbeat import LAWS, law_violations
from tocsin.model.tags import IDENTITY_KEYS

MINUTE_MS = 60_000


def rows(submission: Submission, tagger: tagging.Tagger, partitions: int) -> list[dict[str, Any]]:
    """One row for each heartbeat that could be decoded, in the order of the request."""
    explained: list[dict[str, Any]] = []
    for placed in submission.placed:
        part = placed.part
        own = part.rows
        for at, (session_id, seq, sent_ms) in enumerate(
            zip(own.session_ids, own.column("seq").tolist(), own.column("ts_ms").tolist(), strict=True)
        ):
            tags = {**part.tags, **own.tags.get(at, {})}
            values = tagger.resolve(tags, placed.region, placed.isp)
            ts_ms = sent_ms + placed.shift_ms
            explained.append(
                {
                    "index": part.position(at),
                    "status": "accepted",
                    "session_id": session_id,
                    "seq": seq,
                    "ts_ms": ts_ms,
                    "shift_ms": placed.shift_ms,
                    "minute": ts_ms // MINUTE_MS * 60,
                    "partition": partition_of(session_id, partitions),
                    "sample_k": part.sample_k,
                    "tags": {key: value for key, value in zip(IDENTITY_KEYS, values, strict=True) if value},
                    "ignored_tags": tagging.ignored(tags),
                    "error": own.errors[at].code if at in own.errors else "",
                }
            )
    return explained


def broken_laws(submission: Submission) -> list[Refusal]:
    """The laws that the submission breaks, found without storing it."""
    placed = submission.placed
    if not placed:
        return []
    positions = [one.part.position(at) for one in placed for at in range(len(one.part.rows))]
    broken = law_violations(build(placed, tagging.Tagger(Stats())).numbers).tolist()
    return [
        Refusal(position, LAW_FIELDS[law - 1], LAWS[law - 1], "law")
        for position, law in zip(positions, broken, strict=True)
        if law
    ]


def merged(explained: list[dict[str, Any]], refused: Sequence[Refusal]) -> list[dict[str, Any]]:
    """The rows with what was refused marked so, in the order of the request."""
    by_index = {row["index"]: row for row in explained}
    for refusal in refused:
        by_index[refusal.at] = {
            **by_index.get(refusal.at, {"index": refusal.at}),
            "status": "refused",
            "field": refusal.field,
            "reason": refusal.reason,
            "law": refusal.reason if refusal.code == "law" else None,
        }
    return [by_index[index] for index in sorted(by_index)]
