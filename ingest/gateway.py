"""The hot route, `POST /v1/heartbeats`, as a plain ASGI handler in front of any other ASGI application.

    Gateway(writer, now_ms, settings, fallback)

A server that has a whole plain body at hand skips ASGI and calls `Gateway.post` (`ingest.server`): no task, no
messages, the same answers.

Answers, always JSON: 200 with what was accepted and what was refused (some or all events taken, and the log has acked
them), 400 where none was usable, 401 and 403 by the write key, 408 slow body, 413 too large, 415 content encoding,
429 and 503 with Retry-After. 200 and not 202: the heartbeats *are* stored when it is sent. The body of an error has
the same shape, so a sender reads one format. Query parameters: `key`, `explain=1` (`ingest.explain`), `dry=1`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ingest import explain, scan
from ingest.batcher import DEFECTS, Batcher, Submission
from ingest.body import ClientGoneError, Headers, HttpError, Receive, Scope, Send, inflate, read_body
from ingest.columns import Placed
from ingest.formats import heartbeat
from ingest.formats.heartbeat import BodyError, Parsed, Refusal
from ingest.geo import UNIX, Geo
from ingest.keys import ANONYMOUS, Gatekeeper, presented_key
from ingest.settings import IngestSettings, WriteKey
from ingest.stats import Stats
from tocsin.adapters.log.port import LogWriter
from tocsin.model.errors import TocsinError, UnavailableError

Asgi = Callable[[Scope, Receive, Send], Any]
Hints = Callable[[], Sequence[Mapping[str, Any]]]
Headed = Sequence[tuple[bytes, bytes]]
Answer = tuple[int, bytes, Headed]
"""Status, body, headers beside the usual ones."""
Reply = Callable[[int, Headed, bytes], None]
"""Sends status, headers and body."""

PATH = "/v1/heartbeats"
REFUSED_LISTED_MAX = 100
"""Refused events listed in an answer; all of them are counted in `refused_total`."""
_NDJSON = (b"application/x-ndjson", b"application/ndjson", b"application/jsonl")
_JSON = (b"content-type", b"application/json")
_log = logging.getLogger("tocsin.ingest")


def no_hints() -> Sequence[Mapping[str, Any]]:
    """The provider of a gateway that has nothing to tell players."""
    return ()


class Gateway:
    """ASGI application: takes heartbeats, hands everything else to `fallback`; starts and drains with the lifespan."""

    def __init__(
        self,
        writer: LogWriter,
        now_ms: Callable[[], int],
        settings: IngestSettings,
        fallback: Asgi,
        hints: Hints = no_hints,
        stats: Stats | None = None,
    ) -> None:
        settings.check()
        scan.warm_up()
        self.stats = stats or Stats()
        self.settings = settings
        self.keeper = Gatekeeper(settings)
        self.geo = Geo(settings)
        self.batcher = Batcher(writer, settings, self.stats, now_ms)
        self._now_ms = now_ms
        self._fallback = fallback
        self._hints = hints
        self._until_sample = settings.unknown_fields_sample

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "http" and scope["path"] == PATH:
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._fallback(scope, self._draining(receive), send)
        else:
            await self._fallback(scope, receive, send)

    async def drain(self) -> None:
        """Append what is in flight; nothing is taken afterwards."""
        await self.batcher.close()

    def _draining(self, receive: Receive) -> Receive:
        async def wrapped() -> Any:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.drain()
            return message

        return wrapped

    def post(self, query: bytes, headers: Headers, peer: str, body: bytes, reply: Reply) -> None:
        """Take a whole body that has no content encoding; `reply` is called once, now or after the log's ack."""
        try:
            parsed, submission = self._accept(_query(query), headers, peer, body)
            submission.settled = partial(self._settled, parsed, submission, headers, reply)
            self.batcher.take(submission)
        except (HttpError, BodyError, TocsinError) as error:
            reply(*self._sent(self._refusal(error), headers))
        except DEFECTS:
            _log.exception("taking a request in: a defect, please report it")
            reply(*self._sent(self._refusal(_defect()), headers))

    def _settled(
        self, parsed: Parsed, submission: Submission, headers: Headers, reply: Reply, error: TocsinError | None
    ) -> None:
        answer = self._answer(parsed, submission.refused) if error is None else self._refusal(error)
        reply(*self._sent(answer, headers))

    def _sent(self, answer: Answer, headers: Headers) -> tuple[int, Headed, bytes]:
        """An answer, counted, with all its headers; any origin may read it."""
        status, body, extra = answer
        self.stats.requests[str(status)] += 1
        usual = [_JSON, (b"content-length", b"%d" % len(body)), *extra]
        origin = headers.get(b"origin")
        if origin:
            usual += [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
            if extra:
                usual.append((b"access-control-expose-headers", b"retry-after"))
        return status, usual, body

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = dict(scope["headers"])
        try:
            if scope["method"] == "POST":
                answer = await self._post(scope, headers, receive)
            elif scope["method"] == "OPTIONS":
                answer = 204, b"", _preflight(headers.get(b"origin", b""))
            else:
                text = f"{scope['method'][:16]} is not allowed here; send heartbeats with POST"
                answer = 405, _error_body("", text, 0, ()), ((b"allow", b"POST, OPTIONS"),)
        except ClientGoneError:
            self.gone()
            return
        except (HttpError, BodyError, TocsinError) as error:
            answer = self._refusal(error)
        status, usual, body = self._sent(answer, headers)
        await send({"type": "http.response.start", "status": status, "headers": usual})
        await send({"type": "http.response.body", "body": body})

    def gone(self) -> None:
        """Count a client that left before its body was complete."""
        self.batcher.refuse("gone")

    async def _post(self, scope: Scope, headers: Headers, receive: Receive) -> Answer:
        query = _query(scope["query_string"])
        limits = self.keeper.limits(self._key(query, headers))
        body = await read_body(
            receive, limits.wire_bytes, self.settings.body_timeout_s, headers.get(b"content-length", b"")
        )
        encoding = headers.get(b"content-encoding")
        if encoding:
            body = inflate(body, encoding, limits)
        peer = (scope["client"][0] if scope.get("client") else "") or UNIX
        parsed, submission = self._accept(query, headers, peer, body)
        if "explain" in query or "dry" in query:
            return await self._explain(query, body, parsed, submission)
        await self.batcher.submit(submission)
        return self._answer(parsed, submission.refused)

    def _key(self, query: Mapping[str, str], headers: Headers) -> WriteKey:
        return self.keeper.admit(presented_key(query, headers), headers.get(b"origin", b"").decode("latin-1"))

    def _accept(self, query: Mapping[str, str], headers: Headers, peer: str, body: bytes) -> tuple[Parsed, Submission]:
        """A body taken apart, and what is to be stored of it. Raises `HttpError` and `BodyError`."""
        key = self._key(query, headers)
        limits = self.keeper.limits(key)
        self.stats.body_bytes += len(body)
        content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        parsed = heartbeat.parse(body, limits, content_type in _NDJSON)
        place = self.geo.place(peer, headers)
        if key is not ANONYMOUS:
            self._charge(key, place.address, parsed.total)
        self._sample_unknown(body)
        now_ms = self._now_ms()
        placed = [
            Placed(part, place.region, place.isp, now_ms, self._shift_ms(part.sent_ts_ms, now_ms))
            for part in parsed.parts
        ]
        heartbeats = sum([len(part.rows) for part in parsed.parts])
        return parsed, Submission(placed, heartbeats, len(body), parsed.refused, not key.bulk)

    def _charge(self, key: WriteKey, address: str, events: int) -> None:
        try:
            self.keeper.charge(key, address, events, asyncio.get_running_loop().time())
        except HttpError as error:
            self.batcher.refuse(error.code, max(events - 1, 0))  # one more is counted with the answer
            raise

    def _refusal(self, error: HttpError | BodyError | TocsinError) -> Answer:
        """The answer to a request of which nothing is stored; counted, unless it is to come again."""
        if isinstance(error, BodyError):
            self.batcher.refuse(error.code)
            return (413 if error.code == "events" else 400), _error_body(error.field, error.reason, 0, ()), ()
        if isinstance(error, UnavailableError):
            _log.warning("%s", error)
            after = str(self.settings.retry_after_s).encode()
            text = "the log is not taking heartbeats now; send the same again later"
            return 503, _error_body("", text, 0, ()), ((b"retry-after", after),)
        if not isinstance(error, HttpError):
            error = _defect()
        self.batcher.refuse(error.code)
        return error.status, _error_body("", error.text, 0, ()), error.headers

    async def _explain(self, query: Mapping[str, str], body: bytes, parsed: Parsed, submission: Submission) -> Answer:
        dry = query.get("dry", "0") not in ("0", "")
        rows = explain.rows(submission, self.batcher.tagger, self.batcher.partitions)
        if dry:
            submission.refused += explain.broken_laws(submission)
        else:
            await self.batcher.submit(submission)
        status, plain, extra = self._answer(parsed, submission.refused, stored=not dry)
        answer = msgspec.json.decode(plain)
        answer["stored"] = not dry
        answer["unknown_fields"] = heartbeat.unknown_fields(body)
        answer["events"] = explain.merged(rows, submission.refused)
        return status, msgspec.json.encode(answer), extra

    def _answer(self, parsed: Parsed, refused: list[Refusal], stored: bool = True) -> Answer:
        accepted = parsed.total - len(refused)
        if stored:
            self.stats.heartbeats_accepted += accepted
            for refusal in refused:
                self.stats.refused[refusal.code] += 1
        if not refused:
            hints = self._hints()
            listed = msgspec.json.encode(hints) if hints else b"[]"
            return 200, b'{"accepted":%d,"refused":[],"hints":%s}' % (accepted, listed), ()
        refused.sort()
        if accepted:
            return 200, _body(accepted, refused, self._hints()), ()
        return 400, _error_body(refused[0].field, refused[0].reason, len(refused), refused), ()

    def _shift_ms(self, sent_ts_ms: int, received_ms: int) -> int:
        shift_ms = received_ms - sent_ts_ms
        if -self.settings.skew_ms_max <= shift_ms <= self.settings.skew_ms_max:
            return 0
        self.stats.clock_shifts += 1
        return shift_ms

    def _sample_unknown(self, body: bytes) -> None:
        self._until_sample -= 1
        if self._until_sample <= 0 and self.settings.unknown_fields_sample:
            self._until_sample = self.settings.unknown_fields_sample
            for name in heartbeat.unknown_fields(body):
                self.stats.unknown(name)


def _query(text: bytes) -> Mapping[str, str]:
    return dict(parse_qsl(text.decode("latin-1"))) if text else {}


def _defect() -> HttpError:
    return HttpError(500, "defect", "these heartbeats cannot be stored, which is a defect here")


def _preflight(origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"content-type, content-encoding, authorization"),
        (b"access-control-max-age", b"7200"),
        *(() if origin else ((b"access-control-allow-origin", b"*"),)),
    )


def _listed(refused: Sequence[Refusal]) -> list[dict[str, Any]]:
    return [{"index": r.at, "field": r.field, "reason": r.reason} for r in refused[:REFUSED_LISTED_MAX]]


def _body(accepted: int, refused: Sequence[Refusal], hints: Sequence[Mapping[str, Any]]) -> bytes:
    return msgspec.json.encode(
        {"accepted": accepted, "refused": _listed(refused), "refused_total": len(refused), "hints": hints}
    )


def _error_body(field: str, reason: str, total: int, refused: Sequence[Refusal]) -> bytes:
    return msgspec.json.encode(
        {
            "accepted": 0,
            "error": {"field": field, "reason": reason},
            "refused": _listed(refused),
            "refused_total": total,
            "hints": (),
        }
    )
