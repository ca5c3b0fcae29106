"""`POST /api/v1/publish`: gauges and counters of other services, artwork and probe findings, into the log as points.

Answers as Atlas does: 200 where all were taken, 202 where some, 400 where none, with the reasons; 401 and 403 by the
write key, which must be one that may publish; 503 with Retry-After where the log is away. Points more than a minute
off are refused unless the key may backfill. Bodies are JSON, or the Smile of Netflix's Spectator for Java.

A sender that got no answer, or 503, sends the same again: gauges, rates and counters come to the same, but a sum would
be added twice. With an `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header) the repetition is known
for one, and dropped where points are counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import xxhash
from fastapi import APIRouter, Request, Response

from ingest.batcher import Batcher, Submission
from ingest.body import ClientGoneError, Headers, HttpError, inflate, read_body
from ingest.formats import atlas, smile
from ingest.formats.heartbeat import BodyError
from ingest.keys import Gatekeeper, presented_key
from ingest.settings import IngestSettings
from ingest.stats import Stats
from tocsin.model import points
from tocsin.model.errors import UnavailableError
from tocsin.model.points import PointBatch

PATH = "/api/v1/publish"
MESSAGE_POINTS_MAX = 10_000
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""Of one log record, before compression: Kafka takes twice that."""
IDEMPOTENCY_KEY_MAX = 256


def router(
    batcher: Batcher, keeper: Gatekeeper, stats: Stats, settings: IngestSettings, now_ms: Callable[[], int]
) -> APIRouter:
    """The route, over the gateway's own batcher, keys and counts."""
    routes = APIRouter(tags=["publish"])

    @routes.post(PATH, summary="Publish points in Atlas's JSON or Smile")
    async def publish(request: Request) -> Response:
        try:
            published = await _take(request, batcher, keeper, settings, now_ms)
        except HttpError as error:
            stats.refused[f"points_{error.code}"] += 1
            return _answer(error.status, {"type": "error", "errorCount": 0, "message": [error.text]}, error.headers)
        except BodyError as error:
            stats.refused["points_body"] += 1
            return _answer(400, {"type": "error", "errorCount": 0, "message": [str(error)]})
        except ClientGoneError:
            return Response(status_code=400)
        stats.points_accepted += len(published.points)
        if not published.total:
            return _answer(400, {"type": "error", "errorCount": 0, "message": ["empty payload"]})
        if not published.failed:
            return Response(status_code=200)
        stats.refused["points"] += published.failed
        return _answer(202 if len(published.points) else 400, atlas.failure_message(published))

    return routes


async def _take(
    request: Request,
    batcher: Batcher,
    keeper: Gatekeeper,
    settings: IngestSettings,
    now_ms: Callable[[], int],
) -> atlas.Published:
    headers = dict(request.scope["headers"])
    key = keeper.admit(presented_key(request.query_params, headers), headers.get(b"origin", b"").decode("latin-1"))
    if not key.publish:
        raise HttpError(403, "key", "this write key may not publish points; use one that is set up to")
    limits = settings.bulk_limits
    declared = headers.get(b"content-length", b"")
    body = await read_body(request.receive, limits.wire_bytes, settings.body_timeout_s, declared)
    body = inflate(body, headers.get(b"content-encoding", b""), limits)
    published = await _parsed(body, headers, now_ms(), None if key.backfill else settings.publish_age_ms_max)
    client = request.client.host if request.client else ""
    keeper.charge(key, client, published.total, asyncio.get_running_loop().time())
    if len(published.points):
        records = list(log_records(published.points, batcher.partitions, _request_id(key.key, headers)))
        try:
            await batcher.submit(Submission(size=len(body), records=records))
        except UnavailableError as error:
            after = str(settings.retry_after_s).encode()
            text = "the log is not taking points now; send the same again later"
            raise HttpError(503, "unavailable", text, ((b"retry-after", after),)) from error
    return published


async def _parsed(body: bytes, headers: Headers, now_ms: int, age_ms_max: int | None) -> atlas.Published:
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != smile.CONTENT_TYPE:
        return atlas.parse(body, now_ms, age_ms_max)
    # Smile is read in Python, some 10 µs a point: heartbeats need not wait for it.
    return await asyncio.to_thread(atlas.parse, body, now_ms, age_ms_max, is_smile=True)


def _request_id(write_key: str, headers: Headers) -> bytes:
    """What tells this request from others but not from its repetitions; empty where the sender does not say."""
    given = headers.get(b"idempotency-key", b"")
    if len(given) > IDEMPOTENCY_KEY_MAX:
        raise HttpError(400, "idempotency_key", f"the Idempotency-Key has more than {IDEMPOTENCY_KEY_MAX} bytes")
    return given and write_key.encode() + b"\0" + given


def log_records(published: PointBatch, partitions: int, request_id: bytes) -> Iterator[tuple[int, bytes]]:
    """Log records by partition: all points of a series are in one, so that the last of them stays the last."""
    partition_of = np.array([series.series_id % partitions for series in published.series], np.int64)[published.codes]
    least = MESSAGE_BYTES_MAX // MESSAGE_POINTS_MAX + 1
    row_bytes = np.array([max(len(series.packed), least) for series in published.series], np.int64)[published.codes]
    for partition in np.flatnonzero(np.bincount(partition_of)).tolist():
        rows = np.flatnonzero(partition_of == partition)
        message_of = np.cumsum(row_bytes[rows]) // MESSAGE_BYTES_MAX
        for number, some in enumerate(np.split(rows, np.flatnonzero(np.diff(message_of)) + 1)):
            told = request_id and request_id + b"\0%d,%d" % (partition, number)
            message_id = xxhash.xxh3_64_intdigest(told) if told else 0
            yield partition, points.encode(published.take(some, message_id))


def _answer(status: int, message: object, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Response:
    named = {name.decode(): value.decode() for name, value in headers}
    return Response(msgspec.json.encode(message), status, named, "application/json")
