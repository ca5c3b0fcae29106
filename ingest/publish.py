"""`POST /api/v1/publish`: gauges and counters of other services, artwork and probe findings, into the log as points.

Answers as Atlas does: 200 where all were taken, 202 where some, 400 where none, with the reasons; 401 and 403 by the
write key, which must be one that may publish; 503 with Retry-After where the log is away. Points more than a minute
off are refused unless the key may backfill.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

import msgspec
from fastapi import APIRouter, Request, Response

from ingest.batcher import Batcher, Submission
from ingest.body import ClientGoneError, HttpError, inflate, read_body
from ingest.formats import atlas
from ingest.formats.heartbeat import BodyError
from ingest.keys import Gatekeeper, presented_key
from ingest.settings import IngestSettings
from ingest.stats import Stats
from tocsin.model import points
from tocsin.model.errors import UnavailableError
from tocsin.model.points import Point, Series

PATH = "/api/v1/publish"


def router(
    batcher: Batcher, keeper: Gatekeeper, stats: Stats, settings: IngestSettings, now_ms: Callable[[], int]
) -> APIRouter:
    """The route, over the gateway's own batcher, keys and counts."""
    routes = APIRouter(tags=["publish"])

    @routes.post(PATH, summary="Publish points in Atlas's JSON")
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
        if not published.failures:
            return Response(status_code=200)
        stats.refused["points"] += len(published.failures)
        return _answer(202 if published.points else 400, atlas.failure_message(published))

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
    published = atlas.parse(body, now_ms(), None if key.backfill else settings.publish_age_ms_max)
    client = request.client.host if request.client else ""
    keeper.charge(key, client, published.total, asyncio.get_running_loop().time())
    if published.points:
        submission = Submission(size=len(body), records=_records(published.points, batcher.partitions))
        try:
            await batcher.submit(submission)
        except UnavailableError as error:
            after = str(settings.retry_after_s).encode()
            text = "the log is not taking points now; send the same again later"
            raise HttpError(503, "unavailable", text, ((b"retry-after", after),)) from error
    return published


def _records(taken: list[Point], partitions: int) -> list[tuple[int, bytes]]:
    """One log record a partition: all points of a series are in one, so that the last of them stays the last."""
    by_partition: defaultdict[int, list[Point]] = defaultdict(list)
    for point in taken:
        series = Series(point.name, tuple(sorted(point.tags.items())), point.type)
        by_partition[series.series_id % partitions].append(point)
    return [(partition, points.encode(points.batch(some))) for partition, some in sorted(by_partition.items())]


def _answer(status: int, message: object, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Response:
    named = {name.decode(): value.decode() for name, value in headers}
    return Response(msgspec.json.encode(message), status, named, "application/json")
